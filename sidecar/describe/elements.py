# SPDX-License-Identifier: Apache-2.0
"""Metrics of all elements of an array in a value: `field: queues.*.packets` (pure)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sidecar.describe import prometheus_names
from sidecar.describe.decoders import NameOf, bind
from sidecar.describe.entry_error import entry_error
from sidecar.describe.shape import Encoding, Part, nested
from sidecar.describe.spec import KeySpec, MetricSpec
from sidecar.errors import SidecarError, each

EVERY = "*"
"""The word of a field's dotted name that stands for each index of an array."""

MOST_ELEMENTS = 16_384
"""The most elements of one metric: as many points as one request holds (`otlp.message`)."""

# What a decoder reads: an index as a number of 32 bits, as if it were the key of an array.
_INDEX = Part("index", 0, 32, Encoding.UNSIGNED, "__u32")


def index_of(metric: MetricSpec) -> tuple[KeySpec, ...]:
    """Return the attribute of each `*` of a metric's field; by default the array's name."""
    words = metric.field.split(".")
    stars = [at for at, word in enumerate(words) if word == EVERY]
    if metric.index:
        return metric.index
    arrays = (".".join(word for word in words[:at] if word != EVERY) for at in stars)
    names = prometheus_names.make_distinct(map(prometheus_names.usable, arrays), prometheus_names.label)
    return tuple(KeySpec(EVERY, name, at=metric.at) for name in names)


def with_elements(
    metric: MetricSpec, parts: Sequence[Part], what: str, name_of: NameOf | None = None
) -> list[tuple[MetricSpec, Part]]:
    """
    Return a metric of each element that the field of *metric*, which has a `*`, names.

    Args:
        metric: The metric; its points get an attribute for each `*`.
        parts: The parts of the map's value.
        what: The map, for messages.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        ConfigError: There is no such element, there are more than `MOST_ELEMENTS`, or a decoder does not fit.

    """
    found = list(islice(elements_called(parts, metric.field), MOST_ELEMENTS + 1))
    if not found:
        raise _no_such_array(metric, parts, what)
    if len(found) > MOST_ELEMENTS:
        raise entry_error(
            metric.at,
            f"field {metric.field!r}",
            f"more than {MOST_ELEMENTS:,} elements, the most of one metric",
            f"name those that you want: `{found[0][1].name}`",
        )
    index = index_of(metric)
    decoders = each(
        lambda spec: bind(spec.decoder, _INDEX, dict(spec.table), name_of, at=spec.at or metric.at), index
    )
    elements = []
    for indices, part in found:
        raw = (number.to_bytes(4, sys.byteorder) for number in indices)
        labels = zip(index, decoders, raw, strict=True)
        attributes = tuple((spec.attribute, decode(number)) for spec, decode, number in labels)
        element = replace(metric, field=part.name, attributes=metric.attributes + attributes, index=())
        elements.append((element, part))
    return elements


def elements_called(parts: Sequence[Part], field: str) -> Iterator[tuple[tuple[int, ...], Part]]:
    """Yield the parts that a dotted name with `*` stands for, each after the indices of its `*`."""
    words = field.split(".")
    for part in parts:
        names = (name.split(".") for name in (part.name, *part.aliases))
        indices = next((at for name in names if (at := _indices(name, words)) is not None), None)
        if indices is not None:
            yield indices, part
        elif part.elements:
            yield from _unexpanded(part, words)


def _unexpanded(array: Part, words: Sequence[str]) -> Iterator[tuple[tuple[int, ...], Part]]:
    """Yield the elements of an array that was not expanded into parts."""
    name, elements = array.name.split("."), array.elements
    if elements is None or len(words) <= len(name) or _indices(name, words[: len(name)]) is None:
        return
    for number in range(elements.count):
        if words[len(name)] in (EVERY, str(number)):
            offset = array.bit_offset + elements.bits * number
            inside = nested(elements.parts, f"{array.name}.{number}", offset)
            yield from elements_called(inside, ".".join(words))


def _indices(name: Sequence[str], words: Sequence[str]) -> tuple[int, ...] | None:
    """Return the indices where *words* has a `*`; None if it does not match the name."""
    if len(name) != len(words):
        return None
    indices = []
    for here, word in zip(name, words, strict=True):
        if word == EVERY and here.isdecimal():
            indices.append(int(here))
        elif word != here:
            return None
    return tuple(indices)


def _no_such_array(metric: MetricSpec, parts: Sequence[Part], what: str) -> SidecarError:
    patterns = dict.fromkeys(_pattern(name) for part in parts for name in _names(part))
    arrays = [pattern for pattern in patterns if EVERY in pattern]
    listed = f"its arrays are {', '.join(arrays[:12])}" if arrays else "its value has no array"
    return entry_error(metric.at, f"field {metric.field!r}", f"{what} has no such elements", listed)


def _names(part: Part) -> Iterator[str]:
    if part.elements is None:
        yield part.name
    else:
        yield from (each.name for each in nested(part.elements.parts, f"{part.name}.0"))


def _pattern(name: str) -> str:
    return ".".join(EVERY if word.isdecimal() else word for word in name.split("."))
