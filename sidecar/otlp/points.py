# SPDX-License-Identifier: Apache-2.0
"""
Data points as bytes (pure).

    point = tag 1 · length · numbers · attributes (tag 7)
    numbers of a sum = tag 2 · start · tag 3 · time · tag 6 · as_int
    numbers of a histogram = tag 2 · start · tag 3 · time · tag 4 · count · tag 5 · sum · tag 6 · counts ·
                             tag 7 · bounds

Start, time and values are fixed64, so their offsets never change (`metrics.proto`, NumberDataPoint and
HistogramDataPoint). The fields are in the order of their numbers, as the generated classes write them. The
attributes have another tag in each message: 7, in a histogram 9, in an exponential one 1.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

from sidecar.attributes import framed, split_attributes, varint
from sidecar.histogram import Histogram
from sidecar.u64 import U64

BASE_NS = 1
"""Length of the window of a base point, ns: only a receiver without state of the stream takes it."""

_TAG = b"\x0a"
_START_TAG, _TIME_TAG = b"\x11", b"\x19"
_DOUBLE_TAG, _INTEGER_TAG = b"\x21", b"\x31"
_COUNT_TAG, _SUM_TAG, _COUNTS_TAG, _BOUNDS_TAG, _ZEROS_TAG = b"\x21", b"\x29", b"\x32", b"\x3a", b"\x39"
HISTOGRAM_ATTRIBUTE, EXPONENTIAL_ATTRIBUTE = b"\x4a", b"\x0a"
_POSITIVE_TAG, _OFFSET_TAG, _BUCKETS_TAG = b"\x42", b"\x08", b"\x12"
_NO_RECORDED_VALUE = b"\x40\x01"  # flags, DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_ZERO = bytes(8)
_pack_double = struct.Struct("<d").pack


def times(start_ns: int, time_ns: int) -> bytes:
    """Return the times of a point, Unix ns; a gauge's start is 0. Protobuf omits a field that is 0."""
    start = _START_TAG + start_ns.to_bytes(8, "little") if start_ns else b""
    return start + _TIME_TAG + time_ns.to_bytes(8, "little") if time_ns else start


def integer(times: bytes, value: int, attributes: bytes) -> bytes:
    """Return a point; *value* is an integer modulo 2^64."""
    return integer_head(times, attributes) + value.to_bytes(8, "little") + attributes


def integer_head(times: bytes, attributes: bytes) -> bytes:
    """Return what precedes the value of a point: the same for all fields of a window."""
    return _TAG + varint(len(times) + 9 + len(attributes)) + times + _INTEGER_TAG


def double(times: bytes, value: float, attributes: bytes) -> bytes:
    """Return a point whose value is a float."""
    return framed(_TAG, times + _DOUBLE_TAG + _pack_double(value) + attributes)


def histogram(
    times: bytes, counts: Sequence[int], total: float | None, of: Histogram, attributes: bytes
) -> bytes:
    """
    Return a point of a histogram.

    Args:
        times: Its start and end.
        counts: The count of each bucket, modulo 2^64.
        total: The sum of the observations in the metric's unit; None if it is unknown.
        of: Has the bounds.
        attributes: As for the point of a sum.

    """
    known = b"" if total is None else _SUM_TAG + _pack_double(total)
    buckets = framed(_COUNTS_TAG, struct.pack(f"<{len(counts)}Q", *counts))
    number = _COUNT_TAG + (sum(counts) & U64).to_bytes(8, "little")
    return framed(
        _TAG, times + number + known + buckets + bounds(of.bounds) + with_tag(attributes, HISTOGRAM_ATTRIBUTE)
    )


def exponential(
    times: bytes, counts: Sequence[int], total: float | None, of: Histogram, attributes: bytes
) -> bytes:
    """Return a point of an exponential histogram of scale 0, whose bounds are the powers of two."""
    known = b"" if total is None else _SUM_TAG + _pack_double(total)
    number = _COUNT_TAG + (sum(counts) & U64).to_bytes(8, "little")
    zeros = b""
    if of.counts_zeros:
        zeros, counts = _ZEROS_TAG + counts[0].to_bytes(8, "little"), counts[1:]
    buckets = b"".join(map(varint, counts))
    positive = positive_head(of, len(buckets)) + buckets
    named = with_tag(attributes, EXPONENTIAL_ATTRIBUTE)
    return framed(_TAG, named + times + number + known + zeros + positive)


def positive_head(of: Histogram, size: int) -> bytes:
    """Return what precedes the counts of an exponential histogram's buckets, *size* bytes of varints."""
    offset = _OFFSET_TAG + varint(of.first_exponent << 1 ^ of.first_exponent >> 63)
    head = offset + _BUCKETS_TAG + varint(size)
    return _POSITIVE_TAG + varint(len(head) + size) + head


@lru_cache(maxsize=256)
def bounds(of: tuple[float, ...]) -> bytes:
    """Return the upper bounds of the buckets as part of a point."""
    return framed(_BOUNDS_TAG, struct.pack(f"<{len(of)}d", *of)) if of else b""


def with_tag(attributes: bytes, tag: bytes) -> bytes:
    """Return attributes as they are in the point of a histogram, or of an exponential one."""
    return b"".join(framed(tag, pair) for pair in split_attributes(attributes))


def without_value(time_ns: int, attributes: bytes) -> bytes:
    """Return a gauge's point that says that there is no value (`metrics.proto`, DataPointFlags)."""
    return framed(_TAG, times(0, time_ns) + attributes + _NO_RECORDED_VALUE)


# To lay out many points at once: their numbers, all zero, and the offset of each from the end of the length.
_WINDOW = _START_TAG + _ZERO + _TIME_TAG + _ZERO
SUM = _WINDOW + _INTEGER_TAG + _ZERO
DOUBLE_SUM = _WINDOW + _DOUBLE_TAG + _ZERO
INTEGER = _TIME_TAG + _ZERO + _INTEGER_TAG + _ZERO
DOUBLE = _TIME_TAG + _ZERO + _DOUBLE_TAG + _ZERO
START, TIME, VALUE = 1, 10, 19
GAUGE_TIME, GAUGE_VALUE = 1, 10


def histogram_layout(of: Histogram) -> tuple[bytes, tuple[int, ...]]:
    """Return the numbers of a histogram's point, all zero; and the offsets of count, sum and buckets."""
    known = _SUM_TAG + _ZERO if of.sums else b""
    head = _WINDOW + _COUNT_TAG + _ZERO + known
    buckets = framed(_COUNTS_TAG, _ZERO * len(of.counts))
    first = len(head) + len(buckets) - 8 * len(of.counts)
    offsets = (VALUE, VALUE + 9, first) if of.sums else (VALUE, first)
    return head + buckets + bounds(of.bounds), offsets


def exponential_layout(of: Histogram) -> tuple[bytes, tuple[int, ...]]:
    """Return the numbers of fixed size of such a point, all zero; and the offsets of count, sum and zeros."""
    known, zeros = _SUM_TAG + _ZERO if of.sums else b"", _ZEROS_TAG + _ZERO if of.counts_zeros else b""
    offsets = range(VALUE, VALUE + 9 * (1 + bool(known) + bool(zeros)), 9)
    return _WINDOW + _COUNT_TAG + _ZERO + known + zeros, tuple(offsets)


def head(size: int) -> bytes:
    """Return what precedes the numbers and attributes of a point, which are *size* bytes long."""
    return _TAG + varint(size)
