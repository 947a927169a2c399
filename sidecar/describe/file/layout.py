# SPDX-License-Identifier: Apache-2.0
"""The `layout` section: how the key and the value of a map without BTF look → LayoutSpec."""

import re

from sidecar.describe.file.yaml_nodes import Node
from sidecar.describe.layout import TYPES
from sidecar.describe.spec import LayoutSpec, Member
from sidecar.describe.suggest import nearest

MOST_ELEMENTS = 65_536
LARGEST_OFFSET = 1 << 24
_DEEPEST = 16
_DECLARATION = re.compile(
    r"(?P<type>[a-z_0-9]+)(\[(?P<count>[1-9][0-9]{0,4})\])?( *@ *(?P<offset>0|[1-9][0-9]{0,7}))?"
)


def layout(node: Node) -> LayoutSpec:
    """Return what the section says; raise ConfigError if it cannot be meant."""
    found = node.mapping("layout", ("key", "value", "packed"))
    if "value" not in found:
        raise node.refuse("layout", "no value", "say how the value looks: `value: {packets: u64}`")
    return LayoutSpec(
        value=_root(found["value"], "value"),
        key=_root(found["key"], "key") if "key" in found else None,
        packed=found["packed"].boolean("packed") if "packed" in found else False,
        at=node.at,
    )


def _root(node: Node, name: str) -> tuple[Member, ...]:
    return _members(node, f"layout, {name}", 1) if node.is_mapping else (_declared(node, name),)


def _members(node: Node, what: str, depth: int) -> tuple[Member, ...]:
    found = node.mapping(what)
    if not found:
        raise node.refuse(what, "a struct without members", "write name: type lines")
    if depth > _DEEPEST:
        raise node.refuse(what, f"structs within structs, more than {_DEEPEST} deep", "name fewer of them")
    members = []
    for name, value in found.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise value.refuse(
                f"{what}, member {name!r}", "no member can have that name", "write it as C does"
            )
        if value.is_mapping:
            inner = _members(value, f"{what}.{name}", depth + 1)
            members.append(Member(name, members=inner, at=value.at))
        else:
            members.append(_declared(value, name))
    return tuple(members)


def _declared(node: Node, name: str) -> Member:
    """Return a member that is said by a text: `u32`, `char[16]`, `u64 @ 8`."""
    text = node.text(f"type of {name}")
    found = _DECLARATION.fullmatch(text)
    if not found:
        raise node.refuse(f"type {text!r} of {name}", "not a type", "write u32, u64[4], char[16] or u32 @ 8")
    if found["type"] not in TYPES:
        raise node.refuse(f"type {found['type']!r} of {name}", "unknown", nearest(found["type"], TYPES))
    count, offset = int(found["count"] or 0), int(found["offset"] or 0)
    if count > MOST_ELEMENTS or offset > LARGEST_OFFSET:
        raise node.refuse(f"type {text!r} of {name}", "larger than any value of a map", "is it right?")
    return Member(name, found["type"], count, offset if found["offset"] is not None else None, (), node.at)
