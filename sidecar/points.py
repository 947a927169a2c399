# SPDX-License-Identifier: Apache-2.0
"""
Data points as bytes with places to fill in: a series by the bytes that say it (pure).

    point = tag 1 · length · tag 2 · start · tag 3 · time · tag 6 · as_int · attributes (tag 7)

Start, time and value are fixed64: in a point's bytes they never move (`metrics.proto`, NumberDataPoint). A
point with zeros in these three places names its series: no two lists of attributes have the same bytes. The
fields are in the order of their numbers, as the generated classes write them.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from sidecar.model import Attribute, Attributes
from sidecar.percpu import U64

_ZERO = bytes(8)
_SHORT = [bytes([number]) for number in range(128)]
_TAG = b"\x0a"
_SUM = b"\x11" + _ZERO + b"\x19" + _ZERO + b"\x31" + _ZERO
_INTEGER = b"\x19" + _ZERO + b"\x31" + _ZERO
_DOUBLE = b"\x19" + _ZERO + b"\x21" + _ZERO

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
    return framed(_TAG, _SUM + said(attributes))


def attributes(point: bytes) -> Attributes:
    """Return what `point` was given."""
    # Commands that send nothing do without the OTLP classes.
    from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint  # noqa: PLC0415

    from sidecar.otlp_attributes import pairs  # noqa: PLC0415

    return pairs(NumberDataPoint.FromString(point[_header(point) :]).attributes)


def longer(point: bytes, more: bytes) -> bytes:
    """Return the point with more attributes, as `said` returns them."""
    return framed(_TAG, point[_header(point) :] + more)


def gauge(point: bytes, more: bytes, *, double: bool) -> bytes:
    """Return the point as one of a gauge: without a start."""
    rest = point[_header(point) + len(_SUM) :]
    return framed(_TAG, (_DOUBLE if double else _INTEGER) + rest + more)


def split(blob: bytes) -> Iterator[bytes]:
    """Yield the points that lie one after the other in *blob*; raise ValueError if they are none."""
    at = 0
    while at < len(blob):
        end = at + 1
        length = shift = 0
        while True:
            byte = blob[end]
            length |= (byte & 127) << shift
            end, shift = end + 1, shift + 7
            if byte < 128:
                break
        yield blob[at : end + length]
        at = end + length


def _header(point: bytes) -> int:
    at = 1
    while point[at] > 127:
        at += 1
    return at + 1
