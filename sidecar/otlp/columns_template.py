# SPDX-License-Identifier: Apache-2.0
"""
The points of many series one after the other, with zeros for their numbers, by numpy (pure).

No step is per point: series whose names have the same length are laid out together. `points` defines what a
point looks like.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sidecar.counts.columns import EncodedAttributes, SeriesTable
from sidecar.counts.columns.arrays import Bytes, Mask, Offsets, Rows
from sidecar.counts.columns.names import bounds, pieces
from sidecar.otlp import points


@dataclass(frozen=True)
class Template:
    """
    The points of some series one after the other, with zeros for their numbers.

    Attributes:
        blob: The bytes.
        starts: Where the points of each series begin, and where the last one ends.
        window: Where the length of each point of the window ends, series by series.
        base: The same for the base points; each precedes that of the window.

    """

    blob: Bytes
    starts: Offsets
    window: Offsets
    base: Offsets


def template_of(
    names: EncodedAttributes, series: SeriesTable, zeros: bytes, suffixes: Sequence[bytes], has_base: Mask
) -> Template:
    """
    Return the template of some series, whose attributes in these points are *names* (`template`).

    That of all series of a window is kept with their names: most windows have the same series.
    """
    with_base = bool(has_base.all())
    if series.row_bytes is None or (has_base.any() and not with_base):
        return template(names, series.rows, zeros, suffixes, has_base)
    which, form = (series.row_bytes, with_base), (zeros, *suffixes)
    of, kept = names.kept.get(form, (None, None))
    if not isinstance(kept, Template) or of != which:
        kept = template(names, series.rows, zeros, suffixes, has_base)
        names.kept[form] = which, kept
    return kept


def template(
    names: EncodedAttributes, rows: Rows, zeros: bytes, suffixes: Sequence[bytes], has_base: Mask
) -> Template:
    """
    Return the points of the series in *rows*.

    Args:
        names: The attributes of all series.
        rows: The indexes of some of them.
        zeros: What precedes the attributes in a point.
        suffixes: For each point of a series, the attributes that follow those of the series.
        has_base: Which series have a base point before each of their points.

    """
    first = bounds(names)[rows]
    lengths = bounds(names)[rows + 1] - first
    alike = list(_by_length(lengths))
    shapes = {length: [_Shape.of(zeros, length, suffix) for suffix in suffixes] for length, _ in alike}
    sizes, fronts = _looked_up(shapes, lengths)
    # The points of one series are adjacent.
    ends = np.cumsum(sizes * (1 + has_base[:, np.newaxis])).reshape(sizes.shape)
    begins = ends - sizes
    blob = np.empty(int(ends[-1, -1]), np.uint8)
    for length, which in alike:
        with_base = which[has_base[which]]
        first_of = first[np.append(which, with_base)]
        for at, shape in enumerate(shapes[length]):
            begin = np.append(begins[which, at], begins[with_base, at] - shape.size)
            shape.write(blob, begin, names.encoded, first_of)
    window = begins + fronts
    base = (window - sizes)[has_base]
    return Template(blob, np.append(0, ends[:, -1]), window.reshape(-1), base.reshape(-1))


class _Shape(NamedTuple):
    """
    The points of an instrument for series whose names have the same length.

    Attributes:
        point: One of them, with zeros for the name.
        front: Where its length ends and the numbers begin.
        first: Where the name begins.
        length: Bytes of the name.

    """

    point: bytes
    front: int
    first: int
    length: int

    @classmethod
    def of(cls, zeros: bytes, length: int, suffix: bytes) -> "_Shape":
        """Return the shape of points with a name of *length* bytes, which *suffix* follows."""
        front = points.front(zeros, length + len(suffix))
        return cls(front + bytes(length) + suffix, len(front) - len(zeros), len(front), length)

    @property
    def size(self) -> int:
        """Bytes of each point."""
        return len(self.point)

    def write(self, blob: Bytes, offsets: Offsets, names: bytes, first: Offsets) -> None:
        """Write the points at *offsets* of *blob*; their names begin at *first* of *names*."""
        # Side by side first, so that each point is written at its offset only once.
        made = bytearray(self.point) * len(offsets)
        if self.length:
            each = np.ndarray(offsets.shape, f"V{self.length}", made, self.first, (self.size,))
            each[:] = pieces(names, self.length)[first]
        pieces(blob, self.size)[offsets] = np.frombuffer(made, f"V{self.size}")


def _by_length(lengths: Offsets) -> Iterator[tuple[int, Rows]]:
    """Yield each length with the positions that have it."""
    counts = np.bincount(lengths)
    # Sorting numbers of one or two bytes takes a single pass or two.
    order = np.argsort(lengths.astype(np.min_scalar_type(len(counts))), kind="stable")
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present]).tolist()
    for length, (begin, end) in zip(present.tolist(), pairwise([0, *ends]), strict=True):
        yield length, order[begin:end]


def _looked_up(shapes: dict[int, list[_Shape]], lengths: Offsets) -> tuple[Offsets, Offsets]:
    """Return the size of each point, and where its length ends: a row for each series."""
    each = len(next(iter(shapes.values())))
    sizes, fronts = (np.zeros((max(shapes) + 1, each), np.int64) for _ in range(2))
    for length, of_length in shapes.items():
        sizes[length] = [shape.size for shape in of_length]
        fronts[length] = [shape.front for shape in of_length]
    return np.take(sizes, lengths, axis=0), np.take(fronts, lengths, axis=0)
