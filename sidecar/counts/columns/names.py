# SPDX-License-Identifier: Apache-2.0
"""Find, select and move the encoded attributes of many series at once, by numpy (pure)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.columns.arrays import Bytes, Mask, Offsets
from sidecar.counts.columns.match import find_rows
from sidecar.counts.columns.table import EncodedAttributes

_HISTOGRAM_TAG = 0x4A  # field 9, length-delimited


def pieces(data: bytes | Bytes, size: int) -> NDArray[np.void]:
    """
    Return the *size* bytes from each offset on as one element, so that many are read or written at once.

    The elements overlap; the array is a view of *data*.
    """
    return np.ndarray((max(0, len(data) - size + 1),), f"V{size}", data, 0, (1,))


def bounds(names: EncodedAttributes) -> Offsets:
    """Return the offset of each series, and the end of the last one."""
    return np.frombuffer(names.starts, np.int64)


def common_prefix(left: EncodedAttributes, right: EncodedAttributes) -> int:
    """Return how many series at the start of both are the same."""
    fewest = min(len(left), len(right))
    ends = bounds(left)[1 : fewest + 1]
    same = ends == bounds(right)[1 : fewest + 1]
    size = min(len(left.encoded), len(right.encoded))
    differ = np.frombuffer(left.encoded, np.uint8, size) != np.frombuffer(right.encoded, np.uint8, size)
    if differ.any():
        same &= ends <= differ.argmax()
    return fewest if same.all() else int(same.argmin())


def select(names: EncodedAttributes, kept: Mask) -> EncodedAttributes:
    """Return those of the *kept* series."""
    lengths = np.diff(bounds(names))
    encoded = np.frombuffer(names.encoded, np.uint8)[np.repeat(kept, lengths)]
    return EncodedAttributes(encoded.tobytes(), np.append(0, np.cumsum(lengths[kept])).tobytes())


@lru_cache(maxsize=1)
def in_histogram(names: EncodedAttributes) -> EncodedAttributes:
    """Return the names with the tag that attributes have in the point of a histogram (`metrics.proto`)."""
    encoded = np.frombuffer(names.encoded, np.uint8).copy()
    at, ends = bounds(names)[:-1], bounds(names)[1:]
    # One attribute of each series in each round: its tag, its size as a varint, its bytes.
    while len(at := at[(more := at < ends)]):
        ends = ends[more]
        encoded[at] = _HISTOGRAM_TAG
        size, shift = np.zeros(len(at), np.int64), 0
        going = np.ones(len(at), np.bool_)
        at = at.copy()
        while going.any():
            at[going] += 1
            byte = encoded[at[going]].astype(np.int64)
            size[going] |= (byte & 127) << shift
            shift += 7
            going[going] = byte > 127
        at += 1 + size
    return EncodedAttributes(encoded.tobytes(), names.starts)


def find(names: EncodedAttributes, wanted: set[bytes]) -> dict[bytes, int]:
    """Return the row of each *wanted* series that is there."""
    rows: dict[bytes, int] = {}
    starts, lengths = bounds(names)[:-1], np.diff(bounds(names))
    by_length: dict[int, list[bytes]] = {}
    for name in wanted:
        by_length.setdefault(len(name), []).append(name)
    for length, alike in by_length.items():
        candidates = np.flatnonzero(lengths == length)
        # Series are distinct, so at most one has no attributes.
        held = pieces(names.encoded, length)[starts[candidates]].tobytes() if length else b""
        found = find_rows(b"".join(alike), held, length).tolist() if length else [len(candidates) - 1]
        rows |= {name: int(candidates[at]) for name, at in zip(alike, found, strict=True) if at >= 0}
    return rows
