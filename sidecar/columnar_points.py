# SPDX-License-Identifier: Apache-2.0
"""
Points of many series at once: cut out of others, and put together, without touching them one by one (numpy).

`points` has what a point is. Those of one length are moved together, as if they were large numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.columnar_growth import Mask
from sidecar.columnar_match import Places, matched
from sidecar.points import Points, front

Bytes = NDArray[np.uint8]
Buffer = bytes | Bytes


def pieces(data: Buffer, size: int) -> NDArray[np.void]:
    """Return the *size* bytes from each byte on, to be read or written at many places at once."""
    return np.ndarray((max(0, len(data) - size + 1),), f"V{size}", data, 0, (1,))


def bounds(series: Points) -> Places:
    """Return where each point begins, and where the last one ends."""
    return np.frombuffer(series.starts, np.int64)


def only(series: Points, kept: Mask) -> Points:
    """Return some of the points."""
    lengths = np.diff(bounds(series))
    blob = np.frombuffer(series.blob, np.uint8)[np.repeat(kept, lengths)]
    return Points(blob.tobytes(), np.append(0, np.cumsum(lengths[kept])).tobytes())


def places_of(series: Points, wanted: set[bytes]) -> dict[bytes, int]:
    """Return which of the points are wanted, and their places."""
    found: dict[bytes, int] = {}
    if not wanted or not len(series):
        return found
    starts, lengths = bounds(series)[:-1], np.diff(bounds(series))
    by_length: dict[int, list[bytes]] = {}
    for name in wanted:
        by_length.setdefault(len(name), []).append(name)
    for length, names in by_length.items():
        alike = np.flatnonzero(lengths == length)
        held = pieces(series.blob, length)[starts[alike]].tobytes()
        there = matched(b"".join(names), held, length)
        found |= {name: int(alike[at]) for name, at in zip(names, there.tolist(), strict=True) if at >= 0}
    return found


@dataclass(frozen=True)
class Template:
    """
    The points of some series one after the other, ready for their numbers.

    Attributes:
        blob: Their bytes, with zeros for the numbers.
        starts: Where those of each series begin, and where the last one ends.
        window: Where the lengths of the points of the window end, those of one series together.
        base: The same of the base points, each of which is right before that of the window.

    """

    blob: Bytes
    starts: Places
    window: Places
    base: Places


def template(
    series: Points, places: Places, numbers: bytes, suffixes: Sequence[bytes], has_base: Mask
) -> Template:
    """
    Return the points of those series that have these *places*.

    Args:
        series: Points of sums, without numbers.
        places: Which of them, in which order.
        numbers: What is in front of the attributes, instead of what a sum has there.
        suffixes: For each point of one series, the attributes that it has besides those of the series.
        has_base: Which series have a base point before each of their points.

    """
    first = bounds(series)[places]
    classes = [
        _Class(at, more, alike, length, *front(length, numbers, len(more)))
        for length, alike in _by_length(bounds(series)[places + 1] - first)
        for at, more in enumerate(suffixes)
    ]
    sizes = np.empty((len(suffixes), len(places)), np.int64)
    for one in classes:
        sizes[one.at][one.alike] = one.size
    # Point after point, those of one series together.
    ends = np.cumsum((sizes * (1 + has_base)).T).reshape(-1, len(suffixes)).T
    begins, window = ends - sizes, ends - sizes
    blob = np.empty(int(ends[-1, -1]), np.uint8)
    for one in classes:
        window[one.at][one.alike] += len(one.head) - len(numbers)
        again = one.alike[has_base[one.alike]]
        begin = begins[one.at]
        spots = np.append(begin[one.alike], begin[again] - one.size)
        one.write(blob, spots, series.blob, first[np.append(one.alike, again)])
    base = (window - sizes)[:, has_base]
    return Template(blob, np.append(0, ends[-1]), window.T.reshape(-1), base.T.reshape(-1))


@dataclass(frozen=True)
class _Class:
    """The points of one length that get the same attributes more: they have the same bytes in front."""

    at: int
    more: bytes
    alike: Places
    length: int
    head: bytes
    replaced: int

    @property
    def size(self) -> int:
        """Bytes of each."""
        return len(self.head) + self.length - self.replaced + len(self.more)

    def write(self, blob: Bytes, spots: Places, source: bytes, first: Places) -> None:
        pieces(blob, len(self.head))[spots] = np.void(self.head)
        attributes = self.length - self.replaced
        if attributes:
            pieces(blob, attributes)[spots + len(self.head)] = pieces(source, attributes)[
                first + self.replaced
            ]
        if self.more:
            pieces(blob, len(self.more))[spots + self.size - len(self.more)] = np.void(self.more)


def _by_length(lengths: Places) -> Iterator[tuple[int, Places]]:
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        yield length, np.flatnonzero(lengths == length)
