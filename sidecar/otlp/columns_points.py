# SPDX-License-Identifier: Apache-2.0
"""
The points of many series at once, by numpy (pure).

They are laid out once in a template, which is copied for each metric and patched with its values. `points`
defines what a point looks like and the offsets of its numbers. No step is per point: series whose names have
the same length are laid out together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import EncodedAttributes, SeriesTable
from sidecar.counts.columns.arrays import Bytes, Mask, Offsets, Rows, U64Array
from sidecar.counts.columns.names import bounds, in_histogram, pieces
from sidecar.kinds import Kind
from sidecar.model import Attributes, Temporality
from sidecar.otlp import points
from sidecar.schema import Instrument, Schema


@dataclass(frozen=True)
class Template:
    """
    The points of some series one after the other, with zeros for their numbers.

    Attributes:
        blob: The bytes.
        starts: Where the points of each series begin, and where the last one ends.
        window: For each point of the window, series by series, where its length ends.
        base: The same for the base points; each precedes that of the window.

    """

    blob: Bytes
    starts: Offsets
    window: Offsets
    base: Offsets


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
    classes = [
        _Class(instrument, suffix, rows, length, points.front(zeros, length + len(suffix)))
        for length, rows in _by_length(bounds(names)[rows + 1] - first)
        for instrument, suffix in enumerate(suffixes)
    ]
    sizes = np.empty((len(suffixes), len(rows)), np.int64)
    for each in classes:
        sizes[each.instrument][each.rows] = each.size
    # The points of one series are adjacent: accumulate by series, then by instrument.
    ends = np.cumsum((sizes * (1 + has_base)).T).reshape(-1, len(suffixes)).T
    begins, window = ends - sizes, ends - sizes
    blob = np.empty(int(ends[-1, -1]), np.uint8)
    for each in classes:
        window[each.instrument][each.rows] += len(each.front) - len(zeros)
        with_base = each.rows[has_base[each.rows]]
        begin = begins[each.instrument]
        offsets = np.append(begin[each.rows], begin[with_base] - each.size)
        each.write(blob, offsets, names.encoded, first[np.append(each.rows, with_base)])
    base = (window - sizes)[:, has_base]
    return Template(blob, np.append(0, ends[-1]), window.T.reshape(-1), base.T.reshape(-1))


@dataclass(frozen=True)
class _Class:
    """The points of one instrument for series whose names have the same length: they have the same front."""

    instrument: int
    suffix: bytes
    rows: Rows
    length: int
    front: bytes

    @property
    def size(self) -> int:
        """Bytes of each point."""
        return len(self.front) + self.length + len(self.suffix)

    def write(self, blob: Bytes, offsets: Offsets, names: bytes, first: Offsets) -> None:
        """Write the points at *offsets* of *blob*; their names begin at *first* of *names*."""
        pieces(blob, len(self.front))[offsets] = np.void(self.front)
        if self.length:
            pieces(blob, self.length)[offsets + len(self.front)] = pieces(names, self.length)[first]
        if self.suffix:
            pieces(blob, len(self.suffix))[offsets + len(self.front) + self.length] = np.void(self.suffix)


def _by_length(lengths: Offsets) -> Iterator[tuple[int, Rows]]:
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        yield length, np.flatnonzero(lengths == length)


@dataclass(frozen=True)
class Form:
    """
    What the points of an instrument look like.

    Attributes:
        gauge: The kind; None for what counts in windows.
        zeros: The numbers of a point, all zero.
        offsets: The offsets of its values among them.
        is_histogram: Whether its attributes have the tag that they have in a histogram.

    """

    gauge: Kind | None
    zeros: bytes
    offsets: tuple[int, ...]
    is_histogram: bool = False

    @classmethod
    def of(cls, instrument: Instrument) -> "Form":
        """Return the form of an instrument's points."""
        if instrument.histogram:
            return cls(None, *points.histogram_layout(instrument.histogram), is_histogram=True)
        if instrument.kind.is_sum:
            return cls(None, points.DOUBLE_SUM if instrument.is_double else points.SUM, (points.VALUE,))
        zeros = points.DOUBLE if instrument.is_double else points.INTEGER
        return cls(instrument.kind, zeros, (points.GAUGE_VALUE,))


@dataclass(frozen=True)
class Group:
    """
    Metrics whose points differ only in their values.

    Attributes:
        form: What their points look like.
        suffixes: For each instrument of a metric, the attributes that it adds to those of a series.
        metrics: For each metric, its instruments, each after the index of its number.

    """

    form: Form
    suffixes: tuple[Attributes, ...]
    metrics: list[list[tuple[int, Instrument]]]


class Bodies:
    """The points of a group's metrics for some series; each request takes a range of the series."""

    def __init__(self, schema: Schema, group: Group, series: SeriesTable, temporality: Temporality) -> None:
        """Lay out the points and fill in what the metrics have in common."""
        form = group.form
        bases = temporality is Temporality.DELTA_WITH_BASE and form.gauge is None
        has_base = ~series.is_new & np.bool_(bases)
        suffixes = [encode_attributes(attributes) for attributes in group.suffixes]
        names = series.names
        if form.is_histogram:
            names, suffixes = in_histogram(names), list(map(points.in_histogram, suffixes))
        self._template = template(names, series.rows, form.zeros, suffixes, has_base)
        self._each = len(suffixes)
        self._bases = self._each * np.append(0, np.cumsum(has_base))
        counts = series.totals if temporality is Temporality.CUMULATIVE else series.counts
        before = series.totals[:, has_base] - series.counts[:, has_base]
        self._numbers = _by_metric(
            group,
            lambda at, instrument: (
                [_gauge(schema, instrument, series, at)]
                if form.gauge
                else _counted(schema, instrument, counts, at)
            ),
        )
        self._before = _by_metric(
            group, lambda at, instrument: [] if form.gauge else _counted(schema, instrument, before, at)
        )
        self._offsets = form.offsets
        _fill_times(self._template, group, series, temporality)

    def between(self, first: int, last: int) -> Bytes:
        """Return the points of the series from *first* to before *last*, a row for each metric."""
        begin, end = self._template.starts[[first, last]].tolist()
        rows = np.empty((self._numbers[0].shape[0], end - begin), np.uint8)
        rows[:] = self._template.blob[begin:end]
        # A number of 8 bytes at each byte of a row: assigning to one patches the bytes in place.
        eights = np.ndarray((len(rows), max(0, end - begin - 7)), "<u8", rows, 0, (end - begin, 1))
        some = slice(self._each * first, self._each * last)
        window = self._template.window[some] - begin
        for offset, numbers in zip(self._offsets, self._numbers, strict=True):
            eights[:, window + offset] = numbers[:, some]
        some = slice(*self._bases[[first, last]].tolist())
        base = self._template.base[some] - begin
        for offset, numbers in zip(self._offsets, self._before, strict=False):
            eights[:, base + offset] = numbers[:, some]
        return rows


def _gauge(schema: Schema, instrument: Instrument, series: SeriesTable, at: int) -> U64Array:
    """Return the value of a gauge in each series, as the bits of a point."""
    values: NDArray[np.generic] = instrument.kind.read(series, at)
    return _bits(values, instrument, is_signed=instrument.kind.is_signed(schema.numbers[at]))


def _counted(schema: Schema, instrument: Instrument, numbers: U64Array, at: int) -> list[U64Array]:
    """Return the values of a point of each series, given its numbers: a row for each number."""
    if instrument.histogram is None:
        is_signed = instrument.kind.is_signed(schema.numbers[at])
        return [_bits(numbers[at], instrument, is_signed=is_signed)]
    places = schema.places(instrument)
    buckets = numbers[list(places.counts)]
    values = [buckets.sum(axis=0, dtype=np.uint64)]
    if places.sums:
        total = numbers[list(places.sums)].sum(axis=0, dtype=np.uint64).astype(np.float64)
        values.append(instrument.histogram.scale(total).view(np.uint64))
    return [*values, *buckets]


def _bits(values: NDArray[np.generic], instrument: Instrument, *, is_signed: bool) -> U64Array:
    if instrument.scale is not None:
        if is_signed and not instrument.kind.is_double:
            values = values.view(np.int64)
        values = instrument.scale(values.astype(np.float64))
    return values.view(np.uint64)


def _by_metric(group: Group, values: Callable[[int, Instrument], list[U64Array]]) -> list[U64Array]:
    """
    Return, for each value of a point, a row for each metric.

    It has the value of each of the metric's points in their order: by series, then by instrument.
    """
    of_metrics = [[values(*placed) for placed in metric] for metric in group.metrics]
    return [
        np.stack([np.column_stack([each[at] for each in of_metric]).reshape(-1) for of_metric in of_metrics])
        for at in range(len(of_metrics[0][0]))
    ]


def _fill_times(template: Template, group: Group, series: SeriesTable, temporality: Temporality) -> None:
    eights = np.ndarray((max(0, len(template.blob) - 7),), "<u8", template.blob, 0, (1,))
    if group.form.gauge:
        eights[template.window + points.GAUGE_TIME] = series.end_ns
        return
    cumulative, each = temporality is Temporality.CUMULATIVE, len(group.suffixes)
    eights[template.window + points.START] = (
        series.start_time_ns if cumulative else np.repeat(series.start_ns, each)
    )
    eights[template.window + points.TIME] = series.end_ns
    eights[template.base + points.START] = series.start_time_ns
    eights[template.base + points.TIME] = series.start_time_ns + points.BASE_NS
