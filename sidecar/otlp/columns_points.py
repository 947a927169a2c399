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
from sidecar.counts.columns.names import bounds, pieces
from sidecar.kinds import Kind
from sidecar.model import Attributes, Temporality
from sidecar.otlp import points


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
class Group:
    """
    Metrics whose points differ only in their values.

    Attributes:
        gauge: The kind; None for sums.
        suffixes: For each instrument of a metric, the attributes that it adds to those of a series.
        fields: For each metric, the indexes of its instruments' fields.

    """

    gauge: Kind | None
    suffixes: tuple[Attributes, ...]
    fields: list[list[int]]

    @property
    def zeros(self) -> bytes:
        """The numbers of a point, all zero."""
        if self.gauge is None:
            return points.SUM
        return points.DOUBLE if self.gauge.is_double else points.INTEGER


class Bodies:
    """The points of a group's metrics for some series; each request takes a range of the series."""

    def __init__(self, group: Group, series: SeriesTable, temporality: Temporality) -> None:
        """Lay out the points and fill in what the metrics have in common."""
        bases = temporality is Temporality.DELTA_WITH_BASE and group.gauge is None
        has_base = ~series.is_new & np.bool_(bases)
        suffixes = [encode_attributes(attributes) for attributes in group.suffixes]
        self._template = template(series.names, series.rows, group.zeros, suffixes, has_base)
        self._each = len(suffixes)
        self._bases = self._each * np.append(0, np.cumsum(has_base))
        self._value = points.GAUGE_VALUE if group.gauge else points.VALUE
        self._numbers = _by_metric(group, lambda at: _window_values(group, series, temporality, at))
        self._before = _by_metric(group, lambda at: series.totals[at][has_base] - series.counts[at][has_base])
        _fill_times(self._template, group, series, temporality)

    def between(self, first: int, last: int) -> Bytes:
        """Return the points of the series from *first* to before *last*, a row for each metric."""
        begin, end = self._template.starts[[first, last]].tolist()
        rows = np.empty((len(self._numbers), end - begin), np.uint8)
        rows[:] = self._template.blob[begin:end]
        # A number of 8 bytes at each byte of a row: assigning to one patches the bytes in place.
        eights = np.ndarray((len(rows), max(0, end - begin - 7)), "<u8", rows, 0, (end - begin, 1))
        some = slice(self._each * first, self._each * last)
        eights[:, self._template.window[some] - begin + self._value] = self._numbers[:, some]
        some = slice(*self._bases[[first, last]].tolist())
        eights[:, self._template.base[some] - begin + self._value] = self._before[:, some]
        return rows


def _window_values(
    group: Group, series: SeriesTable, temporality: Temporality, at: int
) -> NDArray[np.generic]:
    """Return the value of a field in the window's point of each series."""
    values: NDArray[np.generic]
    if group.gauge:
        values = group.gauge.read(series, at)
        return values
    values = series.totals[at] if temporality is Temporality.CUMULATIVE else series.counts[at]
    return values


def _by_metric(group: Group, values: Callable[[int], NDArray[np.generic]]) -> U64Array:
    """Return, for each metric, the values of its points in their order: by series, then by instrument."""
    rows = [np.column_stack([values(at) for at in fields]).reshape(-1) for fields in group.fields]
    return np.stack(rows).view(np.uint64)


def _fill_times(template: Template, group: Group, series: SeriesTable, temporality: Temporality) -> None:
    eights = np.ndarray((max(0, len(template.blob) - 7),), "<u8", template.blob, 0, (1,))
    if group.gauge:
        eights[template.window + points.GAUGE_TIME] = series.end_ns
        return
    cumulative, each = temporality is Temporality.CUMULATIVE, len(group.suffixes)
    eights[template.window + points.START] = (
        series.start_time_ns if cumulative else np.repeat(series.start_ns, each)
    )
    eights[template.window + points.TIME] = series.end_ns
    eights[template.base + points.START] = series.start_time_ns
    eights[template.base + points.TIME] = series.start_time_ns + points.BASE_NS
