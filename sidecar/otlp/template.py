# SPDX-License-Identifier: Apache-2.0
"""
A request said again with other numbers (pure).

Times and values are fixed64 (`metrics.proto`, NumberDataPoint): from one cycle to the next they change, but
not their places, as long as the series are the same.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# From field to field to the data points; within these, the fields of eight bytes and how they are packed.
_Fields = Mapping[int, Any]
_POINT: _Fields = {2: "Q", 3: "Q", 4: "d", 6: "q"}
_METRIC: _Fields = {5: {1: _POINT}, 7: {1: _POINT}}
_REQUEST: _Fields = {1: {2: {2: _METRIC}}}


class Template:
    """What is between the numbers of a serialized ExportMetricsServiceRequest."""

    def __init__(self, request: bytes) -> None:
        """Find the places: of each point its start, if it has one, its time and its value."""
        codes, last = "<", 0
        self._parts: list[Any] = []
        for place, code in _places(request, 0, len(request), _REQUEST):
            codes += f"{place - last}s{code}"
            self._parts += (request[last:place], 0)
            last = place + 8
        self._parts.append(request[last:])
        self._struct = struct.Struct(f"{codes}{len(request) - last}s")

    def filled(self, numbers: Sequence[float]) -> bytes:
        """Return the request with these numbers in its places; raise ValueError if they are not as many."""
        self._parts[1::2] = numbers
        return self._struct.pack(*self._parts)


class Last:
    """The last request, by which the next one is said if it differs in its numbers only."""

    def __init__(self) -> None:
        """Remember none."""
        self._shape: object = None
        self._template: Template | None = None

    def said(
        self, shape: object, encode: Callable[[], bytes], numbers: Callable[[], Sequence[float]]
    ) -> bytes:
        """Return what *encode* does; requests of the same *shape* differ in *numbers* only."""
        same = shape == self._shape
        if same and self._template:
            return self._template.filled(numbers())
        encoded = encode()
        # Not the first time: the series of some maps are never the same again.
        self._shape, self._template = shape, Template(encoded) if same else None
        return encoded


def _places(data: bytes, at: int, end: int, fields: _Fields) -> Iterator[tuple[int, str]]:
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 2:
            length, at = _varint(data, at)
            if number in fields:
                yield from _places(data, at, at + length, fields[number])
            at += length
        elif kind == 1:
            yield at, fields[number]
            at += 8
        else:
            _, at = _varint(data, at)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] > 127:
        number |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
