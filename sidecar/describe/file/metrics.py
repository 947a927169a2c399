# SPDX-License-Identifier: Apache-2.0
"""The sections `key`, `metrics` and `attributes` of a source or profile → specs."""

import re
from collections.abc import Mapping
from functools import partial

from sidecar.describe.decoders import DECODERS
from sidecar.describe.elements import EVERY
from sidecar.describe.file import buckets
from sidecar.describe.file.section import Section
from sidecar.describe.file.yaml_nodes import Node
from sidecar.describe.spec import METRIC_NAME, KeySpec, MetricSpec
from sidecar.errors import Collector, each
from sidecar.kinds import KINDS, Kind
from sidecar.model import Aggregate, Attribute, Attributes

_METRIC_KEYS = (
    *("name", "field", "unit", "description", "kind", "attributes", "index", "aggregate", "by"),
    *("at", "where", "scale", "buckets", "bucket", "slots", "sum", "as"),
)
_AGGREGATES: Mapping[str, Aggregate] = {"sum": "sum", "max": "max", "min": "min", "last": "last"}
_FORMS = ("explicit", "exponential")
_MAX_UNIT = 63  # OpenTelemetry specification, `metrics/api.md`, "Instrument unit"


def attributes(node: Node) -> Attributes:
    """Return the constant attributes of a source or a metric."""
    errors = Collector()
    items = node.mapping("attributes", errors).items()
    found = errors.take(lambda: each(_attribute, items), ())
    errors.raise_all()
    return tuple(found)


def _attribute(item: tuple[str, Node]) -> Attribute:
    name, node = item
    if not name:
        raise node.refuse("attributes", "an empty name", "write a name before the colon")
    return name, _attribute_value(name, node)


def _attribute_value(name: str, node: Node) -> str | int | bool:
    what = f"attribute {name!r}"
    value = node.scalar(what)
    if isinstance(value, int):
        return value if isinstance(value, bool) else node.integer(what, -(1 << 63), (1 << 63) - 1)
    return node.text(what)


def key(node: Node) -> tuple[KeySpec, ...]:
    """Return the parts of the key that become attributes."""
    return tuple(each(_key_part, node.sequence("key")))


def labels(node: Node) -> tuple[KeySpec, ...]:
    """Return the parts of the value that become attributes."""
    items = node.sequence("labels")
    if not items:
        raise node.refuse("labels", "empty", "leave it out")
    return tuple(each(partial(_key_part, what="part of the value"), items))


def _key_part(node: Node, what: str = "part of the key") -> KeySpec:
    section = Section(node, what, ("field", "attribute", "decoder", "table", "regexp"))
    section.require("field", "name one: `field: saddr`")
    field = section.text("field") or ""
    return _decoded(section, field)


def _decoded(section: Section, field: str) -> KeySpec:
    """Return an attribute, by default called *field*, and how it is decoded."""
    node = section.node
    decoder = section.take("decoder", lambda name: name.choice("decoder", DECODERS), "")
    table = section.take("table", _table, ())
    regexp = section.take("regexp", _regexp, None)
    attribute = section.text("attribute") or field
    if not section.errors and (decoder == "table") != ("table" in section.values):
        cause = "`table` and `decoder: table` require each other"
        section.errors.add([node.refuse(f"field {field!r}", cause, "write both or neither")])
    section.errors.raise_all()
    return KeySpec(field, attribute, decoder, table, regexp, node.at)


def _regexp(node: Node) -> tuple[str, str]:
    """Return a regular expression and its replacement, which Python's `re` accepts."""
    section = Section(node, "regexp", ("match", "replace"))
    for needed in ("match", "replace"):
        section.require(needed, r"write `{match: '^/usr/bin/(.*)', replace: '\1'}`")
    match = section.text("match") or ""
    replacement = section.take("replace", lambda text: text.text_or_empty("regexp, replace"), "")
    section.errors.raise_all()
    try:
        re.compile(match).sub(replacement, "")
    except (re.error, IndexError, OverflowError, RecursionError) as error:
        raise node.refuse(f"regexp {match!r}", str(error), "write it as for Python's `re`") from None
    return match, replacement


def index(node: Node) -> tuple[KeySpec, ...]:
    """Return the attributes of an element's indices: a name, or a list for several dimensions."""
    if not node.is_sequence:
        return (_index(node),)
    items = node.sequence("index")
    if not items:
        raise node.refuse("index", "empty", "name the attribute of each `*` in the field")
    return tuple(each(_index, items))


def _index(node: Node) -> KeySpec:
    if not node.is_mapping:
        return KeySpec(EVERY, node.text("index"), at=node.at)
    section = Section(node, "index", ("attribute", "decoder", "table"))
    section.require("attribute", "name it: `attribute: queue`")
    return _decoded(section, EVERY)


def _table(node: Node) -> tuple[tuple[int, str], ...]:
    errors = Collector()
    names: dict[int, str] = {}

    def name(item: tuple[str, Node]) -> None:
        digits, value = item
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,19})|0x[0-9a-fA-F]{1,16}", digits):
            raise value.refuse(f"table, key {digits!r}", "not a number", 'write number: name, `6: "tcp"`')
        number = int(digits, 16) if digits.startswith("0x") else int(digits)
        if number in names:
            raise value.refuse(f"table, key {digits}", f"{number} is already in the table", "write it once")
        names[number] = value.text(f"table, name of {digits}")

    items = node.mapping("table", errors).items()
    errors.take(lambda: each(name, items), None)
    errors.raise_all()
    for number, text in names.items():
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text) and int(text) not in names:
            cause = f"the number {text} is not in the table, so it would have the same name"
            errors.add([node.refuse(f"table, name {text!r} of {number}", cause, "name both")])
    errors.raise_all()
    if not names:
        raise node.refuse("table", "empty", 'write number: name, `6: "tcp"`')
    return tuple(names.items())


def metrics(node: Node) -> tuple[MetricSpec, ...]:
    """Return the metrics."""
    items = node.sequence("metrics")
    if not items:
        raise node.refuse("metrics", "empty", "leave the key out for one sum per integer field")
    return tuple(each(_metric, items))


def _metric(node: Node) -> MetricSpec:
    section = Section(node, "metric", _METRIC_KEYS)
    for needed in ("name", "field"):
        section.require(needed, "write `name: flow.packets` and `field: packets`")
    kind = KINDS[section.take("kind", lambda word: word.choice("kind", list(KINDS)), "counter")]
    form = section.take("as", lambda word: word.choice("as", _FORMS), "explicit")
    spec = MetricSpec(
        name=section.take("name", _name, ""),
        field=section.text("field") or "",
        unit=section.take("unit", _unit, ""),
        description=section.text("description") or "",
        kind=Kind.EXPONENTIAL if kind.is_histogram and form == "exponential" else kind,
        attributes=section.take("attributes", attributes, ()),
        index=section.take("index", index, ()),
        aggregate=section.take("aggregate", _aggregate, None),
        by=section.text("by") or "",
        row=section.take("at", buckets.row, None),
        where=section.take("where", buckets.where, ()),
        scale=section.take("scale", buckets.scale, None),
        buckets=section.take("buckets", buckets.buckets, None),
        bucket=section.text("bucket") or "",
        slots=section.take("slots", lambda number: number.integer("slots", 2, buckets.MAX_BUCKETS), 0),
        sum=section.take("sum", buckets.total, None),
        at=section.values.get("name", node).at,
    )
    if not section.errors:
        _refuse_histogram(section, kind)
        _refuse_index(section, spec)
        _refuse_aggregate(section, spec)
    section.errors.raise_all()
    return spec


def _refuse_histogram(section: Section, kind: Kind) -> None:
    """Collect an error for each key that is missing from a histogram, or belongs to one."""
    if kind.is_histogram:
        section.require("buckets", buckets.HOW)
        return
    for name in ("buckets", "bucket", "slots", "sum", "as"):
        if name in section.values:
            cause = f"it belongs to a histogram, and the metric is a {kind.word}"
            node = section.values[name]
            section.errors.add([node.refuse(name, cause, "write `kind: histogram`, or leave it out")])


def _aggregate(node: Node) -> Aggregate:
    return _AGGREGATES[node.choice("aggregate", list(_AGGREGATES))]


def _refuse_aggregate(section: Section, spec: MetricSpec) -> None:
    entry, node = f"metric {spec.name!r}", section.node
    if spec.aggregate and spec.kind is not Kind.GAUGE:
        cause = f"`aggregate` goes with gauges, and it is a {spec.kind.word}: counts are added up"
        section.errors.add([node.refuse(entry, cause, "write `kind: gauge`, or leave it out")])
    elif (spec.aggregate == "last") != bool(spec.by):
        cause = "`aggregate: last` and `by` require each other"
        section.errors.add([node.refuse(entry, cause, "write `by: last_seen`, which tells the time")])


def _refuse_index(section: Section, spec: MetricSpec) -> None:
    stars = spec.field.split(".").count(EVERY)
    if "index" in section.values and len(spec.index) != stars:
        cause = f"{len(spec.index)} names for {stars} `*` in field {spec.field!r}"
        error = section.node.refuse(f"metric {spec.name!r}, index", cause, "write one for each `*`")
        section.errors.add([error])


def _name(node: Node) -> str:
    name = node.text("name")
    if not METRIC_NAME.fullmatch(name):
        raise node.refuse(
            f"metric {name!r}",
            "not a valid metric name",
            "begin with a letter, then use letters, digits and _./-",
        )
    return name


def _unit(node: Node) -> str:
    unit = node.text("unit")
    if len(unit) > _MAX_UNIT or not unit.isascii():
        cause = f"not ASCII, or longer than {_MAX_UNIT}"
        raise node.refuse("unit", cause, 'write UCUM, "By" or "{packet}"')
    return unit
