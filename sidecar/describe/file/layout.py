# SPDX-License-Identifier: Apache-2.0
"""The section `layout` → LayoutSpec."""

import re
from functools import partial
from math import prod

from sidecar.describe.file.section import Section
from sidecar.describe.file.yaml_nodes import Node
from sidecar.describe.layout import TYPES
from sidecar.describe.spec import LayoutSpec, Member
from sidecar.errors import Collector, ConfigError, each
from sidecar.suggest import suggest

_MAX_ELEMENTS = 65_536
_MAX_OFFSET = 1 << 24
_MAX_DEPTH = 16
_DIMS = r"(\[[1-9][0-9]{0,4}\]){0,4}"
_DECLARATION = re.compile(rf"(?P<type>[a-z_0-9]+)(?P<dims>{_DIMS})( *@ *(?P<offset>0|[1-9][0-9]{{0,7}}))?")
_STRUCT = re.compile(rf"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<dims>{_DIMS})")


def layout(node: Node) -> LayoutSpec:
    """Return the layout of a source or profile; raise ConfigError if it is malformed."""
    section = Section(node, "layout", ("key", "value", "packed"))
    section.require("value", "describe the value: `value: {packets: u64}`")
    spec = LayoutSpec(
        value=section.take("value", partial(_root, name="value"), ()),
        key=section.take("key", partial(_root, name="key"), None),
        packed=section.take("packed", lambda packed: packed.boolean("packed"), otherwise=False),
        at=node.at,
    )
    section.errors.raise_all()
    return spec


def outer_key(node: Node) -> tuple[Member, ...]:
    """Return the members of the key of a map of maps."""
    return _root(node, "key")


def _root(node: Node, name: str) -> tuple[Member, ...]:
    return _members(node, f"layout, {name}", 1) if node.is_mapping else (_member(node, name),)


def _members(node: Node, what: str, depth: int) -> tuple[Member, ...]:
    errors = Collector()
    declarations = node.mapping(what, errors)
    if not declarations and not errors:
        raise node.refuse(what, "a struct without members", "write name: type lines")
    if depth > _MAX_DEPTH:
        raise node.refuse(what, f"structs nested more than {_MAX_DEPTH} deep", "flatten some of them")

    def member(item: tuple[str, Node]) -> Member:
        name, declaration = item
        match = _STRUCT.fullmatch(name)
        if not match or (match["dims"] and not declaration.is_mapping):
            raise declaration.refuse(f"{what}, member {name!r}", "not a C identifier", "write it as in C")
        if not declaration.is_mapping:
            return _member(declaration, name)
        inner = _members(declaration, f"{what}.{match['name']}", depth + 1)
        return Member(match["name"], dims=_dims(match, declaration), members=inner, at=declaration.at)

    members = errors.take(lambda: each(member, declarations.items()), ())
    errors.raise_all()
    return tuple(members)


def _member(node: Node, name: str) -> Member:
    """Return a member that is declared by text: `u32`, `char[16]`, `u64 @ 8`."""
    text = node.text(f"type of {name}")
    match = _DECLARATION.fullmatch(text)
    if not match:
        raise node.refuse(f"type {text!r} of {name}", "not a type", "write u32, u64[4], char[16] or u32 @ 8")
    if match["type"] not in TYPES:
        raise node.refuse(f"type {match['type']!r} of {name}", "unknown", suggest(match["type"], TYPES))
    offset = int(match["offset"] or 0)
    if offset > _MAX_OFFSET:
        raise _too_large(match, node)
    placed = offset if match["offset"] is not None else None
    return Member(name, match["type"], _dims(match, node), placed, (), node.at)


def _dims(match: re.Match[str], node: Node) -> tuple[int, ...]:
    """Return the dimensions of a declaration: `[256][7]`."""
    dims = tuple(map(int, re.findall("[0-9]+", match["dims"])))
    if prod(dims) > _MAX_ELEMENTS:
        raise _too_large(match, node)
    return dims


def _too_large(match: re.Match[str], node: Node) -> ConfigError:
    return node.refuse(f"type {match[0]!r}", "larger than the value of any map", "write less")
