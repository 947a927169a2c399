# SPDX-License-Identifier: Apache-2.0
"""Find, select and move the encoded attributes of many series at once, by numpy (pure)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.columns.arrays import Bytes, Mask, Offsets, Rows, U64Array
from sidecar.counts.columns.match import find_rows, hashed
from sidecar.counts.columns.table import EncodedAttributes


def pieces(data: bytes | Bytes, size: int) -> NDArray[np.void]:
    """
    Return the *size* bytes from each offset on as one element, so that many are read or written at once.

    The elements overlap; the array is a view of *data*.
    """
    return np.ndarray((max(0, len(data) - size + 1),), f"V{size}", data, 0, (1,))


def lay_out(
    blob: Bytes, offsets: Offsets, front: bytes, middles: "NDArray[np.void] | None", back: bytes = b""
) -> None:
    """Write *front*, one of *middles* (None: nothing) and *back* at each of *offsets* of *blob*."""
    length = middles.itemsize if middles is not None else 0
    size = len(front) + length + len(back)
    # Side by side first, so that each offset is written to only once.
    made = bytearray(front + bytes(length) + back) * len(offsets)
    if middles is not None:
        np.ndarray(offsets.shape, f"V{length}", made, len(front), (size,))[:] = middles
    pieces(blob, size)[offsets] = np.frombuffer(made, f"V{size}")


def by_length(lengths: Offsets) -> Iterator[tuple[int, Rows]]:
    """Yield each length with the positions that have it."""
    counts = np.bincount(lengths)
    # Sorting numbers of one or two bytes takes a single pass or two.
    order = np.argsort(lengths.astype(np.min_scalar_type(len(counts))), kind="stable")
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present]).tolist()
    for length, (begin, end) in zip(present.tolist(), pairwise([0, *ends]), strict=True):
        yield length, order[begin:end]


@dataclass(frozen=True)
class Strings:
    """
    Bytes of many series, or points, that differ in length.

    Attributes:
        values: Those of each, one after the other.
        first: Where each begins.
        lengths: The length of each.
        head: From the length of one to what precedes it where they are written.

    """

    values: bytes | Bytes
    first: Offsets
    lengths: Offsets
    head: Callable[[int], bytes] = lambda _length: b""

    @cached_property
    def sizes(self) -> Offsets:
        """The length of each with what precedes it."""
        heads = np.zeros(self.lengths.max(initial=0) + 1, np.int64)
        for length in np.flatnonzero(np.bincount(self.lengths)).tolist():
            heads[length] = len(self.head(length))
        return heads[self.lengths] + self.lengths

    def only(self, which: Rows) -> "Strings":
        """Return some of them."""
        return replace(self, first=self.first[which], lengths=self.lengths[which])

    def write(self, blob: Bytes, offsets: Offsets) -> None:
        """Write each at its offset of *blob*."""
        for length, which in by_length(self.lengths):
            values = pieces(self.values, length)[self.first[which]] if length else None
            head = self.head(length)
            if head or length:
                lay_out(blob, offsets[which], head, values)


def varints(numbers: U64Array) -> tuple[Bytes, Offsets]:
    """Return each number as a varint, a row of bytes of which the first are used; and how many."""
    longest = max(1, -(-int(numbers.max(initial=0)).bit_length() // 7))
    shifted = numbers[:, np.newaxis] >> np.arange(0, 7 * longest, 7, dtype=np.uint64)
    lengths = np.maximum(1, np.count_nonzero(shifted, axis=1))
    encoded = (shifted & np.uint64(127) | np.uint64(128)).astype(np.uint8)
    encoded[np.arange(len(numbers)), lengths - 1] &= 127
    return encoded, lengths


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


def take(names: EncodedAttributes, rows: Rows) -> EncodedAttributes:
    """Return those of some series, in this order."""
    first, lengths = bounds(names)[:-1][rows], np.diff(bounds(names))[rows]
    starts = np.append(0, np.cumsum(lengths))
    blob = np.empty(int(starts[-1]), np.uint8)
    Strings(names.encoded, first, lengths).write(blob, starts[:-1])
    return EncodedAttributes(blob.tobytes(), starts.tobytes())


def together(left: EncodedAttributes, right: EncodedAttributes) -> EncodedAttributes:
    """Return the series of both."""
    if not len(left) or not len(right):
        return right if not len(left) else left
    starts = np.append(bounds(left)[:-1], bounds(right) + len(left.encoded))
    return EncodedAttributes(left.encoded + right.encoded, starts.tobytes())


@lru_cache(maxsize=2)
def with_tag(names: EncodedAttributes, tag: bytes) -> EncodedAttributes:
    """Return the names with another tag, of one byte: attributes have others in the points of histograms."""
    encoded = np.frombuffer(names.encoded, np.uint8).copy()
    at, ends = bounds(names)[:-1], bounds(names)[1:]
    # One attribute of each series in each round: its tag, its size as a varint, its bytes.
    while len(at := at[(more := at < ends)]):
        ends = ends[more]
        encoded[at] = tag[0]
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


def find(names: EncodedAttributes, wanted: EncodedAttributes) -> Rows:
    """Return the row of each *wanted* series, or -1."""
    rows = np.full(len(wanted), -1, np.int64)
    if not len(names):
        return rows
    lengths, there = np.diff(bounds(wanted)), np.diff(bounds(names))
    for length, which in by_length(lengths):
        candidates = np.flatnonzero(there == length)
        if not length:
            # Series are distinct, so at most one has no attributes.
            rows[which] = candidates[0] if len(candidates) else -1
            continue
        held = pieces(names.encoded, length)[bounds(names)[candidates]].tobytes()
        found = find_rows(pieces(wanted.encoded, length)[bounds(wanted)[which]].tobytes(), held, length)
        rows[which] = np.append(candidates, -1)[found]
    return rows


def are_distinct(names: EncodedAttributes) -> bool:
    """Return whether no two series are the same; False may be a mistake."""
    for length, which in by_length(np.diff(bounds(names))):
        if len(which) == 1:
            continue
        if not length:
            return False
        hashes = np.sort(hashed(pieces(names.encoded, length)[bounds(names)[which]].tobytes(), length))
        if (hashes[1:] == hashes[:-1]).any():
            return False
    return True
