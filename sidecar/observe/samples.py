# SPDX-License-Identifier: Apache-2.0
"""The samples of one source in Prometheus' text format, many series at once (pure)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, compress
from typing import TYPE_CHECKING

from sidecar.counts.columns import SeriesTable
from sidecar.describe import prometheus_names
from sidecar.histogram import Histogram, Places
from sidecar.model import Series
from sidecar.observe.labels import braced, labels
from sidecar.observe.series_labels import Room, SeriesLabels
from sidecar.schema import Instrument, Schema
from sidecar.u64 import signed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LINES_PER_PIECE = 4096
# Where the labels of a series go in the text that all series of a histogram share.
_LABELS = b"\0"


class SourceSamples:
    """The samples of one source, for one page."""

    def __init__(self, schema: Schema, series: Sequence[Series], room: Room) -> None:
        """Render nothing yet; labels are kept as far as there is *room*."""
        self._schema, self._series = schema, series
        self._labels = SeriesLabels(series, room)

    def release(self) -> None:
        """Forget the labels."""
        self._labels.release()

    def pieces(self, name: bytes, at: int, instrument: Instrument) -> Iterator[bytes]:
        """Yield the lines of an instrument, *name* in Prometheus; *at* is as in `Schema.positions`."""
        if instrument.histogram is None:
            for series, texts in self._parts(instrument, 1):
                yield _lines(name, texts, _values(self._schema, instrument, at, series), instrument)
        else:
            histogram = _HistogramLines(name, instrument.histogram, self._schema.places(instrument))
            for series, texts in self._parts(instrument, histogram.per_series):
                yield histogram.of(series, texts)

    def _parts(self, instrument: Instrument, lines: int) -> Iterator[tuple[Sequence[Series], list[bytes]]]:
        """Yield the series with *instrument*, of so many *lines* each, some at a time, and their labels."""
        step = max(1, _LINES_PER_PIECE // lines)
        for first, texts in self._labels.blocks():
            for begin in range(0, len(texts), step):
                series = _some(self._series, slice(first + begin, first + min(begin + step, len(texts))))
                yield self._having(instrument, series, texts[begin : begin + step])

    def _having(
        self, instrument: Instrument, series: Sequence[Series], texts: list[bytes]
    ) -> tuple[Sequence[Series], list[bytes]]:
        """Leave out the series without *instrument*; add its own labels to those of the others."""
        if isinstance(series, SeriesTable):
            in_view = series.in_view(self._schema.bits[instrument.view])
            if in_view is not None:
                series, texts = series.only(in_view.nonzero()[0]), [*compress(texts, in_view)]
        else:
            has = [self._schema.applies(instrument, each.views) for each in series]
            if not all(has):
                series, texts = [*compress(series, has)], [*compress(texts, has)]
        return series, _with_own(instrument, series, texts)


def _some(series: Sequence[Series], which: slice) -> Sequence[Series]:
    return series.only(which) if isinstance(series, SeriesTable) else series[which]


def _with_own(instrument: Instrument, series: Sequence[Series], texts: list[bytes]) -> list[bytes]:
    """Return the labels of some series together with those of an instrument."""
    if not instrument.attributes:
        return texts
    together, names = b"".join(texts), [prometheus_names.label(name) for name, _ in instrument.attributes]
    if any(b'%b="' % name.encode() in together for name in names):
        # Perhaps a label of the same name, which gives way.
        return [labels((*each.attributes, *instrument.attributes)) for each in series]
    own = labels(instrument.attributes)
    return [b"%b,%b" % (text, own) if text else own for text in texts]


def _lines(name: bytes, texts: Sequence[bytes], values: Sequence[float], instrument: Instrument) -> bytes:
    """Return the lines of an instrument for some series, by their labels and values."""
    number = b"%a" if instrument.is_double else b"%d"
    if all(texts):
        # One format for all, as bytes: half the time of an f-string for each.
        every = name + b"{%b} " + number + b"\n"
        return every * len(texts) % tuple(chain.from_iterable(zip(texts, values, strict=True)))
    each = name + b"%b" + number + b"\n"
    return b"".join([each % (braced(text), value) for text, value in zip(texts, values, strict=True)])


def _values(schema: Schema, instrument: Instrument, at: int, series: Sequence[Series]) -> list[float]:
    """Return `Kind.value` of each series, in the unit of the metric."""
    kind, field, scale = instrument.kind, schema.numbers[at], instrument.scale
    if not isinstance(series, SeriesTable):
        values = [kind.read(each, at) for each in series]
        if kind.is_signed(field):
            values = [signed(int(value)) for value in values]
        return values if scale is None else [scale(value) for value in values]
    columns: NDArray[np.generic] = kind.read(series, at)
    if kind.is_signed(field):
        columns = columns.view("i8")
    if scale is not None:
        columns = scale(columns.astype("f8"))
    numbers: list[float] = columns.tolist()
    return numbers


class _HistogramLines:
    """
    The lines of a histogram: for each series its buckets, its sum and its count.

    Attributes:
        per_series: Number of lines.

    """

    def __init__(self, name: bytes, of: Histogram, places: Places) -> None:
        self._of, self._places = of, places
        self._labelled, self._bare = self._format(name, _LABELS), self._format(name, b"")
        self.per_series = self._bare.count(b"\n")

    def of(self, series: Sequence[Series], texts: Iterable[bytes]) -> bytes:
        """Return the lines of some series, with their labels."""
        return b"".join(
            [
                (self._labelled % numbers).replace(_LABELS, text) if text else self._bare % numbers
                for text, numbers in zip(texts, self._numbers(series), strict=True)
            ]
        )

    def _format(self, name: bytes, inside: bytes) -> bytes:
        """Return the lines of a series with the labels *inside*, but for its numbers."""
        before = inside + b"," if inside else b""
        lines = [
            b'_bucket{%ble="%b"} %%d' % (before, _bound(bound)) for bound in (*self._of.bounds, math.inf)
        ]
        lines += [b"_sum%b%%a" % braced(inside)] if self._places.sums else []
        lines += [b"_count%b%%d" % braced(inside)]
        return b"".join(name + line + b"\n" for line in lines)

    def _numbers(self, series: Sequence[Series]) -> Iterable[tuple[float, ...]]:
        """Return the numbers of each series, one for each of its lines."""
        places = self._places
        if not isinstance(series, SeriesTable):
            return map(self._numbers_of, series)
        counts = series.totals[list(places.counts)].cumsum(axis=0)
        if (counts[1:] < counts[:-1]).any():  # more than 2^64
            return map(self._numbers_of, series)
        lines: list[list[float]] = counts.tolist()
        if places.sums:
            sums = series.totals[list(places.sums)].sum(axis=0)
            lines.append(self._of.scale(sums.astype("f8")).tolist())
        return zip(*lines, lines[len(counts) - 1], strict=True)

    def _numbers_of(self, series: Series) -> tuple[float, ...]:
        places = self._places
        counts = tuple(accumulate(places.buckets(series.totals)))
        sums = (self._of.scale(places.total(series.totals)),) if places.sums else ()
        return *counts, *sums, counts[-1]


def _bound(bound: float) -> bytes:
    """Return the upper bound of a bucket as the Collector writes it."""
    if bound == math.inf:
        return b"+Inf"
    return (str(int(bound)) if bound.is_integer() and abs(bound) < 1e21 else repr(bound)).encode()
