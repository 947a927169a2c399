# SPDX-License-Identifier: Apache-2.0
"""
Data points as bytes with places to fill in: a series by the bytes that say it (pure).

    point = tag 1 · length · numbers · attributes (tag 7)
    numbers of a sum = tag 2 · start · tag 3 · time · tag 6 · as_int

Start, time and value are fixed64: in a point's bytes they never move (`metrics.proto`, NumberDataPoint). The
fields are in the order of their numbers, as the generated classes write them. A series is named by its
attributes as they end its points: no two lists of attributes have the same bytes.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from sidecar.counts.cells import U64
from sidecar.model import Attribute, Attributes

_ZERO = bytes(8)
_SHORT = [bytes([number]) for number in range(128)]
_TAG = b"\x0a"

# The numbers of a point, still zero.
SUM = b"\x11" + _ZERO + b"\x19" + _ZERO + b"\x31" + _ZERO
INTEGER = b"\x19" + _ZERO + b"\x31" + _ZERO
DOUBLE = b"\x19" + _ZERO + b"\x21" + _ZERO

# How long the window of a base point is. Any state of the stream is newer, so only who has none takes it.
BASE_NS = 1

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
    """Return attributes as they end a point: the name of the series that has them."""
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


def apart(said: bytes) -> Iterator[bytes]:
    """Yield each attribute of a name, a serialized KeyValue."""
    at = 0
    while at < len(said):
        size = shift = 0
        while True:
            at += 1
            size |= (said[at] & 127) << shift
            shift += 7
            if said[at] < 128:
                break
        yield said[at + 1 : at + 1 + size]
        at += 1 + size


def attributes(said: bytes) -> Attributes:
    """Return what `said` was given."""
    # Commands that only look at maps start without the OTLP classes.
    from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint  # noqa: PLC0415

    from sidecar.attributes import pairs  # noqa: PLC0415

    return pairs(NumberDataPoint.FromString(said).attributes)


def front(numbers: bytes, attributes: int) -> bytes:
    """Return how a point begins that has so many bytes of attributes: all that is before them."""
    return _TAG + varint(len(numbers) + attributes) + numbers
