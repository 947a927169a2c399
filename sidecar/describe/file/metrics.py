# SPDX-License-Identifier: Apache-2.0
"""The sections `key`, `metrics` and `attributes` of a source or profile → specs."""

import re
from collections.abc import Mapping

from sidecar.describe.decoders import DECODERS
from sidecar.describe.file.yaml_nodes import Node
from sidecar.describe.spec import METRIC_NAME, KeySpec, MetricSpec
from sidecar.kinds import KINDS
from sidecar.model import Attributes

_MAX_UNIT = 63  # OpenTelemetry specification, `metrics/api.md`, "Instrument unit"


def text(section: Mapping[str, Node], name: str) -> str | None:
    """Return the text at a key of a section, or None if the key is absent."""
    return section[name].text(name) if name in section else None


def attributes(section: Mapping[str, Node]) -> Attributes:
    """Return the constant attributes of a source or a metric."""
    if "attributes" not in section:
        return ()
    items = section["attributes"].mapping("attributes").items()
    return tuple((_attribute_name(name, node), _attribute_value(name, node)) for name, node in items)


def _attribute_name(name: str, node: Node) -> str:
    if not name:
        raise node.refuse("attributes", "an empty name", "write a name before the colon")
    return name


def _attribute_value(name: str, node: Node) -> str | int | bool:
    what = f"attribute {name!r}"
    value = node.scalar(what)
    if isinstance(value, int):
        return value if isinstance(value, bool) else node.integer(what, -(1 << 63), (1 << 63) - 1)
    return node.text(what)


def key(section: Mapping[str, Node]) -> tuple[KeySpec, ...] | None:
    """Return the parts of the key that become attributes; None if the section leaves the key open."""
    return tuple(map(_key_part, section["key"].sequence("key"))) if "key" in section else None


def _key_part(node: Node) -> KeySpec:
    section = node.mapping("part of the key", ("field", "attribute", "decoder", "table"))
    if "field" not in section:
        raise node.refuse("part of the key", "no field", "name one: `field: saddr`")
    field = section["field"].text("field")
    decoder = section["decoder"].choice("decoder", DECODERS) if "decoder" in section else ""
    if (decoder == "table") != ("table" in section):
        cause = "`table` and `decoder: table` require each other"
        raise node.refuse(f"field {field!r}", cause, "write both or neither")
    table = _table(section["table"]) if "table" in section else ()
    return KeySpec(field, text(section, "attribute") or field, decoder, table, node.at)


def _table(node: Node) -> tuple[tuple[int, str], ...]:
    names: dict[int, str] = {}
    for digits, value in node.mapping("table").items():
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,19})|0x[0-9a-fA-F]{1,16}", digits):
            raise value.refuse(f"table, key {digits!r}", "not a number", 'write number: name, `6: "tcp"`')
        number = int(digits, 16) if digits.startswith("0x") else int(digits)
        if number in names:
            raise value.refuse(f"table, key {digits}", f"{number} is already in the table", "write it once")
        names[number] = value.text(f"table, name of {digits}")
    for number, name in names.items():
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", name) and int(name) not in names:
            cause = f"the number {name} is not in the table, so it would have the same name"
            raise node.refuse(f"table, name {name!r} of {number}", cause, "name both")
    if not names:
        raise node.refuse("table", "empty", 'write number: name, `6: "tcp"`')
    return tuple(names.items())


def metrics(section: Mapping[str, Node]) -> tuple[MetricSpec, ...] | None:
    """Return the metrics; None if the section leaves them open."""
    if "metrics" not in section:
        return None
    items = section["metrics"].sequence("metrics")
    if not items:
        raise section["metrics"].refuse("metrics", "empty", "leave the key out for one sum per integer field")
    return tuple(map(_metric, items))


def _metric(node: Node) -> MetricSpec:
    found = node.mapping("metric", ("name", "field", "unit", "description", "kind", "attributes"))
    for needed in ("name", "field"):
        if needed not in found:
            raise node.refuse("metric", f"no {needed}", "write `name: flow.packets` and `field: packets`")
    name, unit = found["name"].text("name"), text(found, "unit") or ""
    if not METRIC_NAME.fullmatch(name):
        raise found["name"].refuse(
            f"metric {name!r}",
            "not a valid metric name",
            "begin with a letter, then use letters, digits and _./-",
        )
    if len(unit) > _MAX_UNIT or not unit.isascii():
        raise found["unit"].refuse(
            "unit", f"not ASCII, or longer than {_MAX_UNIT}", 'write UCUM, "By" or "{packet}"'
        )
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
