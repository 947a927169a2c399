# SPDX-License-Identifier: Apache-2.0
"""
Data points as bytes (pure).

    point = tag 1 · length · numbers · attributes (tag 7)
    numbers of a sum = tag 2 · start · tag 3 · time · tag 6 · as_int

Start, time and value are fixed64, so their offsets never change (`metrics.proto`, NumberDataPoint). The
fields are in the order of their numbers, as the generated classes write them.
"""

import struct

from sidecar.attributes import framed, varint

BASE_NS = 1
"""Length of the window of a base point, ns: only a receiver without state of the stream takes it."""

_TAG = b"\x0a"
_START_TAG, _TIME_TAG = b"\x11", b"\x19"
_DOUBLE_TAG, _INTEGER_TAG = b"\x21", b"\x31"
_NO_RECORDED_VALUE = b"\x40\x01"  # flags, DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_ZERO = bytes(8)
_pack_double = struct.Struct("<d").pack


def times(start_ns: int, time_ns: int) -> bytes:
    """Return the times of a point, Unix ns; a gauge's start is 0. Protobuf omits a field that is 0."""
    start = _START_TAG + start_ns.to_bytes(8, "little") if start_ns else b""
    return start + _TIME_TAG + time_ns.to_bytes(8, "little") if time_ns else start


def integer(times: bytes, value: int, attributes: bytes) -> bytes:
    """Return a point; *value* is an integer modulo 2^64."""
    size = varint(len(times) + 9 + len(attributes))
    return _TAG + size + times + _INTEGER_TAG + value.to_bytes(8, "little") + attributes


def double(times: bytes, value: float, attributes: bytes) -> bytes:
    """Return a point whose value is a float."""
    return framed(_TAG, times + _DOUBLE_TAG + _pack_double(value) + attributes)


def without_value(time_ns: int, attributes: bytes) -> bytes:
    """Return a gauge's point that says that there is no value (`metrics.proto`, DataPointFlags)."""
    return framed(_TAG, times(0, time_ns) + attributes + _NO_RECORDED_VALUE)


# To lay out many points at once: their numbers, all zero, and the offset of each from the end of the length.
SUM = _START_TAG + _ZERO + _TIME_TAG + _ZERO + _INTEGER_TAG + _ZERO
INTEGER = _TIME_TAG + _ZERO + _INTEGER_TAG + _ZERO
DOUBLE = _TIME_TAG + _ZERO + _DOUBLE_TAG + _ZERO
START, TIME, VALUE = 1, 10, 19
GAUGE_TIME, GAUGE_VALUE = 1, 10


def front(numbers: bytes, attributes: int) -> bytes:
    """Return all that precedes the attributes of a point, which are *attributes* bytes long."""
    return _TAG + varint(len(numbers) + attributes) + numbers
