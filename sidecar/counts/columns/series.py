# SPDX-License-Identifier: Apache-2.0
"""The series of a large map, in columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from sidecar.attributes import decode_attributes
from sidecar.counts.columns.table import EncodedAttributes
from sidecar.model import Series

if TYPE_CHECKING:  # whoever asks whether something is a SeriesTable must not pay for numpy
    import numpy as np
    from numpy.typing import NDArray

    from sidecar.counts.columns.growth import Mask, U64Array
    from sidecar.counts.columns.match import Places


@dataclass(frozen=True)
class SeriesTable(Sequence[Series]):
    """
    Series in columns; `model.Series` says what they mean.

    Attributes:
        names: All series of the streams.
        places: Which of them these are.
        start_time_ns: Of all.
        end_ns: Of all.
        is_new: Of each.
        start_ns: Of each.
        counts: Of each field, of each.
        totals: Of each field, of each.
        values: Of each field, of each; None if nobody wants to know.
        elapsed_ns: Of all.

    """

    names: EncodedAttributes
    places: "Places"
    start_time_ns: int
    end_ns: int
    is_new: "Mask"
    start_ns: "U64Array"
    counts: "U64Array"
    totals: "U64Array"
    values: "U64Array | None"
    elapsed_ns: int

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Series]:
        return map(self._one, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> Series: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Series]: ...
    def __getitem__(self, at: int | slice) -> Series | Sequence[Series]:
        if isinstance(at, slice):
            return [self._one(one) for one in range(*at.indices(len(self)))]
        return self._one(range(len(self))[at])

    def _one(self, at: int) -> Series:
        return Series(
            decode_attributes(self.names[int(self.places[at])]),
            self.start_time_ns,
            bool(self.is_new[at]),
            int(self.start_ns[at]),
            self.end_ns,
            tuple(self.counts[:, at].tolist()),
            tuple(self.totals[:, at].tolist()),
            () if self.values is None else tuple(self.values[:, at].tolist()),
            self.elapsed_ns,
        )

    def rate(self, at: int) -> "NDArray[np.floating]":
        """Return `Series.rate` of each series."""
        counts: NDArray[np.signedinteger] = self.counts[at].astype("i8")
        return counts * 1e9 / self.elapsed_ns if self.elapsed_ns else counts * 0.0

    def only(self, which: "Places | slice") -> "SeriesTable":
        """Return some of them."""
        return replace(
            self,
            places=self.places[which],
            is_new=self.is_new[which],
            start_ns=self.start_ns[which],
            counts=self.counts[:, which],
            totals=self.totals[:, which],
            values=None if self.values is None else self.values[:, which],
        )
