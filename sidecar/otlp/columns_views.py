# SPDX-License-Identifier: Apache-2.0
"""Which series of a large map have points of a view's metrics, by numpy (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidecar.counts.columns import SeriesTable
from sidecar.counts.columns.arrays import Bytes, Offsets, Rows
from sidecar.counts.columns.names import Strings


@dataclass(frozen=True)
class Share:
    """
    The series that belong to a view, of those that are encoded together.

    Attributes:
        series: They alone.
        places: Where each is among all; None: these are all.

    """

    series: SeriesTable
    places: Rows | None

    @classmethod
    def of(cls, series: SeriesTable, bit: int) -> "Share":
        """Return those that belong to the view of this bit."""
        has = series.in_view(bit)
        if has is None:
            return cls(series, None)
        places = np.flatnonzero(has)
        some = series.only(places)
        if series.row_bytes is not None:
            some = replace(some, row_bytes=some.rows.tobytes())
        return cls(some, places)

    def between(self, first: int, last: int) -> range:
        """Return which of these are from *first* to before *last* among all."""
        if self.places is None:
            return range(first, last)
        return range(*np.searchsorted(self.places, [first, last]).tolist())

    def rows(self, some: range) -> Rows:
        """Return where some of these are among all."""
        return (
            np.arange(some.start, some.stop) if self.places is None else self.places[some.start : some.stop]
        )


def side_by_side(
    bodies: Sequence[Bytes], rows: Sequence[Rows], sizes: Sequence[Offsets], count: int
) -> Bytes:
    """
    Return the points of *count* series, of which the instruments of a metric have some each.

    Args:
        bodies: For each instrument the points of its series.
        rows: For each the series that it has points of.
        sizes: For each how long these are.
        count: Number of series.

    """
    lengths = np.zeros((count, len(bodies)), np.int64)
    for column, (which, size) in enumerate(zip(rows, sizes, strict=True)):
        lengths[which, column] = size
    ends = np.cumsum(lengths).reshape(lengths.shape)
    blob = np.empty(int(ends[-1, -1]), np.uint8)
    for column, (body, which, size) in enumerate(zip(bodies, rows, sizes, strict=True)):
        Strings(body, np.cumsum(size) - size, size).write(blob, (ends - lengths)[which, column])
    return blob
