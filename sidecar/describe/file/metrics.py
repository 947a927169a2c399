# SPDX-License-Identifier: Apache-2.0
"""The sections `key`, `metrics` and `attributes`, of a source and of a profile → specs."""

import re
from collections.abc import Mapping

from sidecar.describe.decoders import DECODERS
from sidecar.describe.file.yaml_nodes import Node
from sidecar.describe.spec import KeySpec, MetricSpec
from sidecar.kinds import KINDS
from sidecar.model import Attributes

METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
"""OpenTelemetry specification, `metrics/api.md`, "Instrument name syntax"."""

LONGEST_UNIT = 63
"""The same, "Instrument unit"."""


def text(found: Mapping[str, Node], name: str) -> str | None:
    """Return the text of a key, or None if it is not there."""
    return found[name].text(name) if name in found else None


def attributes(found: Mapping[str, Node]) -> Attributes:
    """Return the constant attributes of a source or a metric."""
    if "attributes" not in found:
        return ()
    items = found["attributes"].mapping("attributes").items()
    return tuple((_attribute_name(name, node), _attribute_value(name, node)) for name, node in items)


def _attribute_name(name: str, node: Node) -> str:
    if not name:
        raise node.refuse("attributes", "a name is empty", "write a name before the colon")
    return name


def _attribute_value(name: str, node: Node) -> str | int | bool:
    what = f"attribute {name!r}"
    value = node.scalar(what)
    if isinstance(value, int):
        return value if isinstance(value, bool) else node.integer(what, -(1 << 63), (1 << 63) - 1)
    return node.text(what)


def key(found: Mapping[str, Node]) -> tuple[KeySpec, ...] | None:
    """Return the parts of the key that become attributes; None if nothing is said of them."""
    return tuple(map(_key_part, found["key"].sequence("key"))) if "key" in found else None


def _key_part(node: Node) -> KeySpec:
    found = node.mapping("a part of the key", ("field", "attribute", "decoder", "table"))
    if "field" not in found:
        raise node.refuse("a part of the key", "no field", "name one: `field: saddr`")
    field = found["field"].text("field")
    decoder = found["decoder"].choice("decoder", DECODERS) if "decoder" in found else ""
    if (decoder == "table") != ("table" in found):
        raise node.refuse(
            f"field {field!r}", "a table goes with `decoder: table`", "write both, or neither of them"
        )
    table = _table(found["table"]) if "table" in found else ()
    return KeySpec(field, text(found, "attribute") or field, decoder, table, node.at)


def _table(node: Node) -> tuple[tuple[int, str], ...]:
    names: dict[int, str] = {}
    for digits, value in node.mapping("table").items():
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,19})|0x[0-9a-fA-F]{1,16}", digits):
            raise value.refuse(f"table, key {digits!r}", "not a number", 'write number: name, `6: "tcp"`')
        number = int(digits, 16) if digits.startswith("0x") else int(digits)
        if number in names:
            raise value.refuse(f"table, key {digits}", f"{number} is there already", "write it once")
        names[number] = value.text(f"table, name of {digits}")
    for number, name in names.items():
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", name) and int(name) not in names:
            raise node.refuse(
                f"table, name {name!r} of {number}", f"{name} has none, so it is called so too", "name both"
            )
    if not names:
        raise node.refuse("table", "empty", 'write number: name, `6: "tcp"`')
    return tuple(names.items())


def metrics(found: Mapping[str, Node]) -> tuple[MetricSpec, ...] | None:
    """Return the metrics; None if nothing is said of them."""
    if "metrics" not in found:
        return None
    items = found["metrics"].sequence("metrics")
    if not items:
        raise found["metrics"].refuse("metrics", "none", "leave the key out for one sum per integer field")
    return tuple(map(_metric, items))


def _metric(node: Node) -> MetricSpec:
    found = node.mapping("a metric", ("name", "field", "unit", "description", "kind", "attributes"))
    for needed in ("name", "field"):
        if needed not in found:
            raise node.refuse("a metric", f"no {needed}", "write `name: flow.packets` and `field: packets`")
    name, unit = found["name"].text("name"), text(found, "unit") or ""
    if not METRIC_NAME.fullmatch(name):
        raise found["name"].refuse(
            f"metric {name!r}",
            "no metric can have that name",
            "begin with a letter; then letters, digits, _./-",
        )
    if len(unit) > LONGEST_UNIT or not unit.isascii():
        raise found["unit"].refuse("unit", "not ASCII, or longer than 63", 'write UCUM, "By" or "{packet}"')
    kind = found["kind"].choice("kind", list(KINDS)) if "kind" in found else "counter"
    return MetricSpec(
        name=name,
        field=found["field"].text("field"),
        unit=unit,
        description=text(found, "description") or "",
        kind=KINDS[kind],
        attributes=attributes(found),
        at=found["name"].at,
    )
