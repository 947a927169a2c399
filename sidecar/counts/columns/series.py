# SPDX-License-Identifier: Apache-2.0
"""The series of a large map in columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from sidecar.attributes import decode_attributes
from sidecar.counts.columns.table import Concrete, EncodedAttributes
from sidecar.model import ALL_VIEWS, Series

if TYPE_CHECKING:  # telling whether series are in columns must not import numpy
    import numpy as np
    from numpy.typing import NDArray

    from sidecar.counts.columns.arrays import Mask, Rows, U64Array


@dataclass(frozen=True)
class SeriesTable(Sequence[Series], metaclass=Concrete):
    """
    Series in columns; see `model.Series`.

    Attributes:
        names: The encoded attributes of all series of the streams.
        rows: The row in *names* of each series of this table.
        start_time_ns: The same for all.
        end_ns: The same for all.
        is_new: For each series.
        start_ns: For each series.
        counts: A row for each field, a column for each series.
        totals: A row for each field, a column for each series.
        values: A row for each field, a column for each series; None if no instrument is a gauge.
        elapsed_ns: The same for all.
        row_bytes: *rows* as bytes, if these are all series of a window: mostly the same object as in the last
            one. None: some of them.
        views: For each series, as bits; None: all series have all.

    """

    names: EncodedAttributes
    rows: "Rows"
    start_time_ns: int
    end_ns: int
    is_new: "Mask"
    start_ns: "U64Array"
    counts: "U64Array"
    totals: "U64Array"
    values: "U64Array | None"
    elapsed_ns: int
    row_bytes: bytes | None = None
    views: "Rows | None" = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Series]:
        return map(self._series, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> Series: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Series]: ...
    def __getitem__(self, at: int | slice) -> Series | Sequence[Series]:
        if isinstance(at, slice):
            return list(map(self._series, range(*at.indices(len(self)))))
        return self._series(range(len(self))[at])

    def _series(self, at: int) -> Series:
        return Series(
            decode_attributes(self.names[int(self.rows[at])]),
            self.start_time_ns,
            bool(self.is_new[at]),
            int(self.start_ns[at]),
            self.end_ns,
            tuple(self.counts[:, at].tolist()),
            tuple(self.totals[:, at].tolist()),
            () if self.values is None else tuple(self.values[:, at].tolist()),
            self.elapsed_ns,
            ALL_VIEWS if self.views is None else int(self.views[at]),
        )

    def rate(self, at: int) -> "NDArray[np.floating]":
        """Return `Series.rate` of each series."""
        counts: NDArray[np.signedinteger] = self.counts[at].astype("i8")
        # Zero without a sign: a fall times 0.0 would be -0.0.
        return counts * 1e9 / self.elapsed_ns if self.elapsed_ns else counts * 0 * 1.0

    def sums(self) -> tuple[int, ...]:
        """Return the count of each field added up over all series, modulo 2^64."""
        return tuple(self.counts.sum(axis=1, dtype="u8").tolist())

    def in_view(self, bit: int) -> "Mask | None":
        """Return which series belong to the view of this bit; None: all do."""
        if self.views is None:
            return None
        has: Mask = (self.views & bit) != 0
        return None if has.all() else has

    def only(self, which: "Rows | slice") -> "SeriesTable":
        """Return a table of some of the series, by their position in this one."""

        def some(numbers: "U64Array") -> "U64Array":
            # By number, take is faster than an index.
            return numbers[:, which] if isinstance(which, slice) else numbers.take(which, axis=1)

        return replace(
            self,
            rows=self.rows[which],
            is_new=self.is_new[which],
            start_ns=self.start_ns[which],
            counts=some(self.counts),
            totals=some(self.totals),
            values=None if self.values is None else some(self.values),
            row_bytes=None,
            views=None if self.views is None else self.views[which],
        )
