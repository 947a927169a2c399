# SPDX-License-Identifier: Apache-2.0
"""The keys `buckets`, `scale`, `at` and `where` of a metric → specs."""

from typing import Literal

from sidecar.describe.file.section import Section
from sidecar.describe.file.yaml_nodes import Node
from sidecar.describe.spec import BucketsSpec, Wanted
from sidecar.errors import Collector, each
from sidecar.scale import Scale
from sidecar.suggest import suggest

_Powers = Literal["log2", "log2_zero", "exp2", "exp2_zero"]
_POWERS: tuple[_Powers, ...] = ("log2", "log2_zero", "exp2", "exp2_zero")
HOW = "write log2, log2_zero, exp2, exp2_zero, {linear: {start: 0, width: 10}} or a list of upper bounds"
"""How to write buckets."""
_LARGEST = (1 << 63) - 1
MAX_BUCKETS = 4096
"""More than any backend takes."""


def buckets(node: Node) -> BucketsSpec:
    """Return the buckets of a histogram."""
    if node.is_sequence:
        return BucketsSpec("bounds", bounds=_bounds(node))
    if not node.is_mapping:
        word = node.text("buckets")
        for form in _POWERS:
            if word == form:
                return BucketsSpec(form)
        if word == "linear":
            raise node.refuse("buckets", "linear needs a width", HOW)
        raise node.refuse(f"buckets {word!r}", "unknown", f"{suggest(word, _POWERS)}; {HOW}")
    section = Section(node, "buckets", ("linear",))
    section.require("linear", HOW)
    spec = section.take("linear", _linear, BucketsSpec("linear"))
    section.errors.raise_all()
    return spec


def _linear(node: Node) -> BucketsSpec:
    section = Section(node, "linear", ("start", "width"))
    section.require("width", "write how many numbers each bucket counts: `width: 10`")
    start = section.take("start", lambda number: number.integer("start", -_LARGEST, _LARGEST), 0)
    width = section.take("width", lambda number: number.integer("width", 1, _LARGEST), 1)
    section.errors.raise_all()
    return BucketsSpec("linear", start, width)


def _bounds(node: Node) -> tuple[float, ...]:
    items = node.sequence("buckets")
    if not items or len(items) >= MAX_BUCKETS:
        cause = "empty" if not items else f"more than {MAX_BUCKETS - 1} bounds"
        raise node.refuse("buckets", cause, "write the upper bounds: `[100, 1000, 10000]`")
    found = each(lambda item: float(item.number("bound")), items)
    for lower, upper, item in zip(found, found[1:], items[1:], strict=False):
        if upper <= lower:
            cause = f"{upper:g} is not above {lower:g}"
            raise item.refuse("buckets", cause, "write the upper bounds in ascending order")
    return tuple(found)


def scale(node: Node) -> Scale:
    """Return the factor from the field's unit to the metric's."""
    text = node.number("scale")
    found = Scale.of(text)
    if found is None:
        raise node.refuse(f"scale {text}", "not positive", "write 1e-9 from nanoseconds to seconds")
    return found


def row(node: Node) -> str | int:
    """Return the key that a metric is about: a number, or a name."""
    value = node.scalar("at")
    return node.integer("at", 0, (1 << 64) - 1) if isinstance(value, int) else node.text("at")


def total(node: Node) -> str | int:
    """Return what holds a histogram's sum: a field, or the number of a bucket."""
    value = node.scalar("sum")
    return node.integer("sum", 0, (1 << 64) - 1) if isinstance(value, int) else node.text("sum")


def where(node: Node) -> tuple[tuple[str, Wanted], ...]:
    """Return which keys are chosen: parts of the key, each with the values that it may have."""
    errors = Collector()
    items = node.mapping("where", errors).items()
    found = errors.take(lambda: each(_wanted, items), ())
    errors.raise_all()
    if not found:
        raise node.refuse("where", "empty", "name a part of the key and its values: `{proto: [6, 17]}`")
    return tuple(found)


def _wanted(item: tuple[str, Node]) -> tuple[str, Wanted]:
    field, node = item
    what = f"where, {field}"
    if not node.is_sequence:
        return field, (node.scalar(what),)
    values = node.sequence(what)
    if not values:
        raise node.refuse(what, "empty", "write the values that it may have, or leave it out")
    return field, tuple(each(lambda value: value.scalar(what), values))
