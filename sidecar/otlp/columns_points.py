# SPDX-License-Identifier: Apache-2.0
"""
Points of many series at once: laid out in a template that is copied for each metric and patched (numpy).

`points` has what a point is, and the places of its start, time and value. Nothing is made point by point:
names of one length are moved together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import EncodedAttributes, SeriesTable
from sidecar.counts.columns.arrays import Bytes, Mask, Offsets, Rows, U64Array
from sidecar.counts.columns.names import bounds, pieces
from sidecar.model import Attributes, Temporality
from sidecar.otlp import points
from sidecar.schema import Kind


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
    starts: Offsets
    window: Offsets
    base: Offsets


def template(
    names: EncodedAttributes, places: Rows, numbers: bytes, suffixes: Sequence[bytes], has_base: Mask
) -> Template:
    """
    Return the points of those series that have these *places*.

    Args:
        names: Of all series.
        places: Of some of them.
        numbers: What a point has before its attributes.
        suffixes: For each point of one series, the attributes that it has besides those of the series.
        has_base: Which series have a base point before each of their points.

    """
    first = bounds(names)[places]
    classes = [
        _Class(at, more, alike, length, points.front(numbers, length + len(more)))
        for length, alike in _by_length(bounds(names)[places + 1] - first)
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
        window[one.at][one.alike] += len(one.front) - len(numbers)
        again = one.alike[has_base[one.alike]]
        begin = begins[one.at]
        spots = np.append(begin[one.alike], begin[again] - one.size)
        one.write(blob, spots, names.encoded, first[np.append(one.alike, again)])
    base = (window - sizes)[:, has_base]
    return Template(blob, np.append(0, ends[-1]), window.T.reshape(-1), base.T.reshape(-1))


@dataclass(frozen=True)
class _Class:
    """The points of names of one length that get the same attributes more: they have the same front."""

    at: int
    more: bytes
    alike: Rows
    length: int
    front: bytes

    @property
    def size(self) -> int:
        """Bytes of each."""
        return len(self.front) + self.length + len(self.more)

    def write(self, blob: Bytes, spots: Offsets, said: bytes, first: Offsets) -> None:
        """Write them where *spots* says; their names begin where *first* says."""
        pieces(blob, len(self.front))[spots] = np.void(self.front)
        if self.length:
            pieces(blob, self.length)[spots + len(self.front)] = pieces(said, self.length)[first]
        if self.more:
            pieces(blob, len(self.more))[spots + len(self.front) + self.length] = np.void(self.more)


def _by_length(lengths: Offsets) -> Iterator[tuple[int, Rows]]:
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        yield length, np.flatnonzero(lengths == length)


_NUMBERS = {None: points.SUM, Kind.GAUGE: points.INTEGER, Kind.RATE: points.DOUBLE}


@dataclass(frozen=True)
class Group:
    """
    Metrics whose points differ in nothing but the value.

    Attributes:
        gauge: GAUGE or RATE; None for sums.
        suffixes: What each instrument of a metric adds to the attributes.
        fields: For each metric, the places of its instruments' fields.

    """

    gauge: Kind | None
    suffixes: tuple[Attributes, ...]
    fields: list[list[int]]


class Bodies:
    """The points of a group's metrics, of some series; requests are made of parts of them."""

    def __init__(self, group: Group, series: SeriesTable, temporality: Temporality) -> None:
        """Lay out the points and fill in what the metrics have in common."""
        bases = temporality is Temporality.DELTA_WITH_BASE and group.gauge is None
        has_base = ~series.is_new & np.bool_(bases)
        suffixes = [encode_attributes(one) for one in group.suffixes]
        self._template = template(series.names, series.rows, _NUMBERS[group.gauge], suffixes, has_base)
        self._each = len(suffixes)
        self._bases = self._each * np.append(0, np.cumsum(has_base))
        self._value = points.GAUGE_VALUE if group.gauge else points.VALUE
        self._numbers = _by_metric(_said(group, series, temporality), group)
        before = series.totals - series.counts if has_base.any() else series.totals
        self._before = _by_metric(before[:, has_base], group)
        _fill_times(self._template, group, series, temporality)

    def between(self, first: int, last: int) -> Bytes:
        """Return the points of the series from *first* to before *last*, one metric a row."""
        begin, end = self._template.starts[[first, last]].tolist()
        found = np.empty((len(self._numbers), end - begin), np.uint8)
        found[:] = self._template.blob[begin:end]
        eights = np.ndarray((len(found), max(0, end - begin - 7)), "<u8", found, 0, (end - begin, 1))
        some = slice(self._each * first, self._each * last)
        eights[:, self._template.window[some] - begin + self._value] = self._numbers[:, some]
        some = slice(*self._bases[[first, last]].tolist())
        eights[:, self._template.base[some] - begin + self._value] = self._before[:, some]
        return found


def _said(group: Group, series: SeriesTable, temporality: Temporality) -> U64Array:
    """Return what each field says of each series."""
    if group.gauge is Kind.GAUGE:
        assert series.values is not None  # noqa: S101 - a schema with gauges has them
        return series.values
    if group.gauge is Kind.RATE:
        return series.rates().view(np.uint64)
    return series.totals if temporality is Temporality.CUMULATIVE else series.counts


def _by_metric(fields: U64Array, group: Group) -> U64Array:
    """Return, for each metric, the numbers of its points in their order: series, then instrument."""
    return fields[group.fields].transpose(0, 2, 1).reshape(len(group.fields), -1)


def _fill_times(template: Template, group: Group, series: SeriesTable, temporality: Temporality) -> None:
    eights = np.ndarray((max(0, len(template.blob) - 7),), "<u8", template.blob, 0, (1,))
    if group.gauge:
        eights[template.window + points.GAUGE_TIME] = series.end_ns
        return
    whole, each = temporality is Temporality.CUMULATIVE, len(group.suffixes)
    eights[template.window + points.START] = (
        series.start_time_ns if whole else np.repeat(series.start_ns, each)
    )
    eights[template.window + points.TIME] = series.end_ns
    eights[template.base + points.START] = series.start_time_ns
    eights[template.base + points.TIME] = series.start_time_ns + points.BASE_NS
