# SPDX-License-Identifier: Apache-2.0
"""
Data points as bytes with places to fill in: a series by the bytes that say it (pure).

    point = tag 1 · length · tag 2 · start · tag 3 · time · tag 6 · as_int · attributes (tag 7)

Start, time and value are fixed64: in a point's bytes they never move (`metrics.proto`, NumberDataPoint). A
point with zeros in these three places names its series: no two lists of attributes have the same bytes. The
fields are in the order of their numbers, as the generated classes write them.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise

from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from sidecar.model import Attribute, Attributes
from sidecar.otlp_attributes import pairs
from sidecar.percpu import U64

_ZERO = bytes(8)
_SHORT = [bytes([number]) for number in range(128)]
_TAG = b"\x0a"

# What is between a point's length and its attributes.
SUM = b"\x11" + _ZERO + b"\x19" + _ZERO + b"\x31" + _ZERO
INTEGER = b"\x19" + _ZERO + b"\x31" + _ZERO
DOUBLE = b"\x19" + _ZERO + b"\x21" + _ZERO

# Where the places are, from the end of the length.
START, TIME, VALUE = 1, 10, 19
GAUGE_TIME, GAUGE_VALUE = 1, 10


def varint(number: int) -> bytes:
    """Return a number as protobuf has it."""
    if number < 128:
        return _SHORT[number]
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def framed(tag: bytes, body: bytes) -> bytes:
    """Return a field of bytes: tag, length, body."""
    return tag + varint(len(body)) + body


def said(attributes: Iterable[Attribute]) -> bytes:
    """Return attributes as they end a point."""
    # Ten times as fast as the generated classes, and each new key asks for it.
    return b"".join(framed(b"\x3a", _key(key) + framed(b"\x12", _value(value))) for key, value in attributes)


@cache
def _key(key: str) -> bytes:
    return framed(_TAG, key.encode()) if key else b""


def _value(value: str | int | bool) -> bytes:
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & U64)
    return framed(_TAG, value.encode())


def point(attributes: Iterable[Attribute]) -> bytes:
    """Return the point of a sum that has these attributes, with zeros in its three places."""
    return framed(_TAG, SUM + said(attributes))


def attributes(point: bytes) -> Attributes:
    """Return what `point` was given."""
    return pairs(NumberDataPoint.FromString(point[_body_at(len(point)) :]).attributes)


def front(length: int, numbers: bytes, more: int) -> tuple[bytes, int]:
    """
    Return how a point of *length* bytes begins if it has other numbers, and *more* bytes of attributes.

    And how many of the bytes that it has this replaces: the rest are its attributes.
    """
    replaced = _body_at(length) + len(SUM)
    return _TAG + varint(len(numbers) + length - replaced + more) + numbers, replaced


def _body_at(length: int) -> int:
    """Return where the body of a point of *length* bytes begins."""
    return next(at for at in range(2, 12) if length - at < 1 << 7 * (at - 1))


@dataclass(frozen=True, eq=False)
class Points:
    """
    Many points, one after the other.

    Attributes:
        blob: Their bytes.
        starts: Where each begins, and where the last one ends, u64.

    """

    blob: bytes
    starts: bytes

    @classmethod
    def of(cls, points: Iterable[bytes]) -> "Points":
        """Put points together."""
        each = list(points)
        return cls(b"".join(each), array("Q", accumulate(map(len, each), initial=0)).tobytes())

    @classmethod
    def split(cls, blob: bytes) -> "Points":
        """Return the points that lie one after the other in *blob*."""
        return cls(blob, array("Q", _starts(blob)).tobytes())

    def __len__(self) -> int:
        return len(self.starts) // 8 - 1

    def __iter__(self) -> Iterator[bytes]:
        return (self.blob[first:last] for first, last in pairwise(memoryview(self.starts).cast("Q")))

    def __getitem__(self, at: int) -> bytes:
        first, last = memoryview(self.starts).cast("Q")[at : at + 2]
        return self.blob[first:last]

    def __add__(self, more: "Points") -> "Points":
        ends = (len(self.blob) + end for end in memoryview(more.starts).cast("Q")[1:])
        return Points(self.blob + more.blob, self.starts + array("Q", ends).tobytes())


def _starts(blob: bytes) -> Iterator[int]:
    at = 0
    while at < len(blob):
        yield at
        end = at + 1
        length = shift = 0
        while True:
            byte = blob[end]
            length |= (byte & 127) << shift
            end, shift = end + 1, shift + 7
            if byte < 128:
                break
        at = end + length
    yield at
