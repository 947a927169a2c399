# SPDX-License-Identifier: Apache-2.0
"""
The points of an exponential histogram for many series at once, by numpy (pure).

The counts of their buckets are varints, so each point has a length of its own. `points.exponential` defines
what a point looks like.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import SeriesTable
from sidecar.counts.columns.arrays import Bytes, Mask, U64Array
from sidecar.counts.columns.names import (
    Strings,
    bounds,
    by_length,
    lay_out,
    varints,
    with_tag,
)
from sidecar.histogram import Histogram
from sidecar.model import Temporality
from sidecar.otlp import points
from sidecar.otlp.columns_points import Group, Numbers, base_times, counted, times, with_base
from sidecar.schema import Schema


class ExponentialBodies:
    """The points of a group's only metric for some series; each request takes a range of the series."""

    def __init__(self, schema: Schema, group: Group, series: SeriesTable, temporality: Temporality) -> None:
        """Keep what the points are made of."""
        self._schema, self._group, self._series, self._temporality = schema, group, series, temporality
        self._has_base = with_base(group.form, series, temporality)

    def between(self, first: int, last: int) -> Sequence[Bytes]:
        """Return the points of the series from *first* to before *last*."""
        series, has_base = self._series.only(slice(first, last)), self._has_base[first:last]
        counts = series.totals if self._temporality is Temporality.CUMULATIVE else series.counts
        each = np.ones(len(series), np.bool_)
        of_window = times(self._group.form, series, self._temporality)
        # The points of one series are adjacent: of each instrument the base point, then that of the window.
        made = []
        for column in range(len(self._group.suffixes)):
            if has_base.any():
                before = series.totals - series.counts
                made.append((has_base, self._points(series, column, base_times(series), before)))
            made.append((each, self._points(series, column, of_window, counts)))
        return [_side_by_side(made)]

    def _points(
        self, series: SeriesTable, column: int, times_: Numbers, counts: U64Array
    ) -> Sequence[Strings]:
        """Return the parts of the points of one instrument."""
        group = self._group
        ((at, instrument),) = group.metrics[0][column : column + 1]
        histogram = instrument.histogram
        assert histogram is not None  # noqa: S101  # the form is that of one
        *fixed, buckets = counted(self._schema, instrument, counts, at)
        if histogram.counts_zeros:
            fixed, buckets = [*fixed, buckets[:, 0]], buckets[:, 1:]
        names = with_tag(series.names, group.form.tag)
        begin = bounds(names)[series.rows]
        named = Strings(names.encoded, begin, bounds(names)[series.rows + 1] - begin)
        front = points.with_tag(encode_attributes(group.suffixes[column]), group.form.tag)
        values = list(zip(group.form.offsets, fixed, strict=True))
        numbers = _fixed(front, group.form.zeros, [*times_, *values], len(series))
        return named, numbers, _packed(buckets, histogram)


def _fixed(front: bytes, zeros: bytes, numbers: Numbers, count: int) -> Strings:
    """Return *front* and the numbers of each point."""
    size = len(front) + len(zeros)
    made = bytearray(front + zeros) * count
    for offset, values in numbers:
        np.ndarray((count,), "<u8", made, len(front) + offset, (size,))[:] = values
    return Strings(np.frombuffer(made, np.uint8), np.arange(count) * size, np.full(count, size))


def _packed(buckets: U64Array, of: Histogram) -> Strings:
    """Return the buckets of each point; *buckets* has a row for each."""
    encoded, lengths = varints(buckets.reshape(-1))
    values = encoded[np.arange(encoded.shape[1]) < lengths[:, np.newaxis]]
    of_points = lengths.reshape(buckets.shape).sum(axis=1)
    head = partial(points.positive_head, of)
    return Strings(values, np.cumsum(of_points) - of_points, of_points, head)


def _side_by_side(made: Sequence[tuple[Mask, Sequence[Strings]]]) -> Bytes:
    """Return points series by series: of each kind of point, which series have one, and the parts of all."""
    bodies = [np.sum([part.sizes for part in parts], axis=0) for _, parts in made]
    framed = [Strings(b"", np.zeros_like(body), body, points.head) for body in bodies]
    sizes = np.stack([has * frame.sizes for (has, _), frame in zip(made, framed, strict=True)], axis=1)
    ends = np.cumsum(sizes).reshape(sizes.shape)
    blob = np.empty(int(ends[-1, -1]), np.uint8)
    for (has, parts), body, begins, size in zip(made, bodies, (ends - sizes).T, sizes.T, strict=True):
        which = np.flatnonzero(has)
        at, length_of = begins[which], body[which]
        for length, alike in by_length(length_of):
            lay_out(blob, at[alike], points.head(length), None)
        at += size[which] - length_of
        for part in parts:
            some = part.only(which)
            some.write(blob, at)
            at += some.sizes
    return blob
