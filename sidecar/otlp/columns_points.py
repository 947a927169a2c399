# SPDX-License-Identifier: Apache-2.0
"""
The points of the metrics of many series at once, by numpy (pure).

They are laid out once for all metrics whose points differ only in their values (`columns_template`), and
copied and patched with their numbers for each request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

import numpy as np
from numpy.typing import NDArray

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import SeriesTable
from sidecar.counts.columns.arrays import Bytes, Mask, Offsets, U64Array
from sidecar.counts.columns.names import with_tag
from sidecar.kinds import Kind
from sidecar.model import Attributes, Temporality
from sidecar.otlp import points
from sidecar.otlp.columns_template import template_of
from sidecar.schema import Instrument, Schema

Values = Sequence[tuple[int, U64Array]]
"""
The values of a group's points: the offset of each from the end of the length, and an array.

The array has, for each metric, a row for each series with a column for each of its points.
"""

Numbers = list[tuple[int, int | U64Array]]
"""
Numbers of points: the offset of each from the end of the length; and its value, if it is the same in all
points, or an array. It has a column for each point, series by series, and a row for each metric, unless they
have it in common; where several numbers follow each other, each element is a row of them.
"""


@dataclass(frozen=True)
class Form:
    """
    What the points of an instrument look like.

    Attributes:
        gauge: The kind; None for what counts in windows.
        zeros: The numbers of a point, all zero.
        offsets: The offsets of its values among them.
        buckets: How many numbers the last value has, which are next to each other; 0: it is a number itself.
        tag: That of its attributes.
        exponential: Of an exponential histogram, what its buckets are: their number, and the first exponent.

    """

    gauge: Kind | None
    zeros: bytes
    offsets: tuple[int, ...]
    buckets: int = 0
    tag: bytes = b""
    exponential: tuple[int, int] | None = None

    @classmethod
    def of(cls, instrument: Instrument) -> "Form":
        """Return the form of an instrument's points."""
        of = instrument.histogram
        if of and instrument.kind is Kind.EXPONENTIAL:
            buckets = len(of.counts), of.first_exponent
            return cls(None, *points.exponential_layout(of), 0, points.EXPONENTIAL_ATTRIBUTE, buckets)
        if of:
            return cls(None, *points.histogram_layout(of), len(of.counts), points.HISTOGRAM_ATTRIBUTE)
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
        bit: That of the view that they belong to.

    """

    form: Form
    suffixes: tuple[Attributes, ...]
    metrics: list[list[tuple[int, Instrument]]]
    bit: int

    @property
    def are_counts(self) -> bool:
        """Whether the value of each metric is one number of a series, as it was counted."""
        return self.form.zeros == points.SUM and len(self.suffixes) == 1


class Bodies:
    """The points of a group's metrics for some series; each request takes a range of the series."""

    def __init__(self, schema: Schema, group: Group, series: SeriesTable, temporality: Temporality) -> None:
        """Lay out the points."""
        names, suffixes = series.names, list(map(encode_attributes, group.suffixes))
        if tag := group.form.tag:
            names, suffixes = with_tag(names, tag), [points.with_tag(each, tag) for each in suffixes]
        self._has_base = with_base(group.form, series, temporality)
        self._template = template_of(names, series, group.form.zeros, suffixes, self._has_base, group.bit)
        self._schema, self._group, self._series, self._temporality = schema, group, series, temporality

    def between(self, first: int, last: int) -> Bytes:
        """Return the points of the series from *first* to before *last*, a row for each metric."""
        group, series = self._group, self._series.only(slice(first, last))
        template, each = self._template, len(group.suffixes)
        begin, end = template.starts[[first, last]].tolist()
        bodies = template.blob[begin:end].reshape(1, -1).copy()
        places = [template.window[each * first : each * last] - begin]
        counts = series.totals if self._temporality is Temporality.CUMULATIVE else series.counts
        of_points, values = (
            [times(group.form, series, self._temporality, each)],
            [self._values(series, counts)],
        )
        has_base = self._has_base[first:last]
        if has_base.any():
            before = np.count_nonzero(self._has_base[:first])
            some = slice(each * before, each * (before + np.count_nonzero(has_base)))
            places.append(template.base[some] - begin)
            based = series if has_base.all() else series.only(np.flatnonzero(has_base))
            of_points.append(base_times(series))
            values.append(self._values(based, based.totals - based.counts))
        zeros, middle = group.form.zeros, group.form.offsets[0]
        if len(group.metrics) == 1:
            for at, of_metric in zip(places, map(add, of_points, values), strict=True):
                _fill(bodies, at, zeros, 0, of_metric)
            return bodies
        for at, of_all in zip(places, of_points, strict=True):
            _fill(bodies, at, zeros[:middle], 0, of_all)
        bodies = np.repeat(bodies, len(group.metrics), axis=0)
        for at, of_each in zip(places, values, strict=True):
            _fill(bodies, at, zeros[middle:], middle, of_each)
        return bodies

    def sizes(self, some: range) -> Offsets:
        """Return how many bytes the points of each of some series have."""
        return np.diff(self._template.starts[some.start : some.stop + 1])

    def _values(self, series: SeriesTable, counts: U64Array) -> Numbers:
        """Return the values of the points, given what the series counted."""
        group = self._group
        if group.are_counts:
            return [(points.VALUE, counts[[at for ((at, _),) in group.metrics]])]
        shape = len(group.metrics), len(series), len(group.suffixes)
        values = [(offset, np.empty(shape, np.uint64)) for offset in group.form.offsets]
        if group.form.buckets:
            values[-1] = values[-1][0], np.empty((*shape, group.form.buckets), np.uint64)
        for row, metric in enumerate(group.metrics):
            for column, (at, instrument) in enumerate(metric):
                if group.form.gauge:
                    numbers = [_gauge(self._schema, instrument, series, at)]
                else:
                    numbers = counted(self._schema, instrument, counts, at)
                for (_, of_metrics), of_metric in zip(values, numbers, strict=True):
                    of_metrics[row, :, column] = of_metric
        # Series by series, all points of a metric in one row.
        flat = len(group.metrics), len(series) * len(group.suffixes)
        return [(offset, of_metrics.reshape(*flat, *of_metrics.shape[3:])) for offset, of_metrics in values]


def with_base(form: Form, series: SeriesTable, temporality: Temporality) -> Mask:
    """Return which series have base points."""
    return ~series.is_new & np.bool_(temporality is Temporality.DELTA_WITH_BASE and form.gauge is None)


def times(form: Form, series: SeriesTable, temporality: Temporality, each: int = 1) -> Numbers:
    """Return the times of the points of the window, of which each series has *each*."""
    if form.gauge:
        return [(points.GAUGE_TIME, series.end_ns)]
    is_cumulative = temporality is Temporality.CUMULATIVE
    start = series.start_time_ns if is_cumulative else np.repeat(series.start_ns, each)
    return [(points.START, start), (points.TIME, series.end_ns)]


def base_times(series: SeriesTable) -> Numbers:
    """Return the times of the base points."""
    birth = series.start_time_ns
    return [(points.START, birth), (points.TIME, birth + points.BASE_NS)]


def _fill(bodies: Bytes, places: Offsets, zeros: bytes, first: int, numbers: Numbers) -> None:
    """
    Write adjacent numbers of points.

    Args:
        bodies: The points, a row for each metric.
        places: Where the length of each point to write to ends.
        zeros: The numbers with their tags, all zero.
        first: The offset of the first tag from the end of the length.
        numbers: The numbers.

    """
    size, width, shape = bodies.shape[1], len(zeros), (len(bodies), len(places))
    # Points have any distance from each other, so each is written to only once.
    made = bytearray(zeros) * (shape[0] * shape[1])
    for offset, values in numbers:
        more = values.shape[2:] if isinstance(values, np.ndarray) else ()
        strides = width * shape[1], width, 8
        np.ndarray((*shape, *more), "<u8", made, offset - first, strides[: 2 + len(more)])[:] = values
    # The bytes from each offset on as one element; these overlap.
    everywhere = np.ndarray((len(bodies), size - width + 1), f"V{width}", bodies, 0, (size, 1))
    everywhere[:, places + first] = np.frombuffer(made, f"V{width}").reshape(shape)


def _gauge(schema: Schema, instrument: Instrument, series: SeriesTable, at: int) -> U64Array:
    """Return the value of a gauge in each series, as the bits of a point."""
    values: NDArray[np.generic] = instrument.kind.read(series, at)
    return _bits(values, instrument, is_signed=instrument.kind.is_signed(schema.numbers[at]))


def counted(schema: Schema, instrument: Instrument, numbers: U64Array, at: int) -> list[U64Array]:
    """
    Return the values of a point of each series, given its numbers: a row for each number.

    Those of a histogram are the count, the sum if it is known, and the buckets: a row for each series.
    """
    if instrument.histogram is None:
        is_signed = instrument.kind.is_signed(schema.numbers[at])
        return [_bits(numbers[at], instrument, is_signed=is_signed)]
    places = schema.places(instrument)
    buckets = numbers[list(places.counts)]
    values = [buckets.sum(axis=0, dtype=np.uint64)]
    if places.sums:
        total = numbers[list(places.sums)].sum(axis=0, dtype=np.uint64).astype(np.float64)
        values.append(instrument.histogram.scale(total).view(np.uint64))
    return [*values, buckets.T]


def _bits(values: NDArray[np.generic], instrument: Instrument, *, is_signed: bool) -> U64Array:
    if instrument.scale is not None:
        if is_signed and not instrument.kind.is_double:
            values = values.view(np.int64)
        values = instrument.scale(values.astype(np.float64))
    return values.view(np.uint64)
