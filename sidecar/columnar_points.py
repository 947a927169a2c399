# SPDX-License-Identifier: Apache-2.0
"""
The points of many series at once: a template of bytes, copied for each metric and patched in place, by numpy.

`points` has the places of a point's start, time and value. Nothing is built point by point.
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sidecar import points
from sidecar.columnar_growth import Mask, U64Array
from sidecar.columnar_match import Places
from sidecar.columnar_series import SeriesTable
from sidecar.model import Attributes, Temporality
from sidecar.schema import Kind

Matrix = NDArray[np.uint8]


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


@dataclass(frozen=True)
class _Template:
    """Points with zeros as values; where the lengths of base points end, and those of the others."""

    blob: bytearray
    base: Places
    window: Places


def bodies(group: Group, series: SeriesTable, temporality: Temporality) -> Matrix:
    """Return the points of each metric of a group, one metric a row."""
    with_base = temporality is Temporality.DELTA_WITH_BASE and group.gauge is None
    has_base = (series.settled_ns > series.birth_ns) & np.bool_(with_base)
    template = _template(group, series, has_base)
    _fill_times(template, group, series, has_base, whole=temporality is Temporality.CUMULATIVE)
    found = np.empty((len(group.fields), len(template.blob)), np.uint8)
    found[:] = np.frombuffer(template.blob, np.uint8)
    if group.gauge:
        _put(found, template.window + points.GAUGE_VALUE, _gauge(group, series))
    elif temporality is Temporality.CUMULATIVE:
        _put(found, template.window + points.VALUE, series.totals[:, group.fields])
    else:
        counts = series.counts[:, group.fields]
        _put(found, template.window + points.VALUE, counts)
        if with_base:
            before = series.totals[:, group.fields] - counts
            _put(found, template.base + points.VALUE, before[has_base])
    return found


def _put(rows: Matrix, at: Places, numbers: U64Array) -> None:
    """Write numbers (series, metric, instrument) into each metric's row, in OTLP's byte order."""
    count, length = rows.shape
    everywhere = _eights(rows.reshape(-1))
    offsets = np.arange(count)[:, None] * length + at
    everywhere[offsets] = np.moveaxis(numbers, 1, 0).reshape(count, -1)


def _eights(data: "bytearray | Matrix") -> U64Array:
    """Return eight bytes from each byte on, whatever their alignment, as numbers."""
    return np.ndarray((max(0, len(data) - 7),), "<u8", data, 0, (1,))


def _gauge(group: Group, series: SeriesTable) -> U64Array:
    if group.gauge is Kind.GAUGE:
        assert series.values is not None  # noqa: S101 - a schema with gauges has them
        return series.values[:, group.fields]
    grew = series.counts[:, group.fields].astype(np.int64).astype(np.float64)
    seconds = (np.uint64(series.end_ns) - series.start_ns).astype(np.float64)
    return (grew * 1e9 / seconds[:, None, None]).view(np.uint64)


def _template(group: Group, series: SeriesTable, has_base: Mask) -> _Template:
    each = _single_points(group, series)
    twice = np.repeat(has_base, len(group.suffixes))
    lengths = np.fromiter(map(len, each), np.int64, len(each))
    if twice.all():
        each = list(chain.from_iterable(zip(each, each, strict=True)))
    elif twice.any():
        each = [one for one, two in zip(each, twice.tolist(), strict=True) for one in (one,) * (1 + two)]
    starts = np.cumsum(lengths * (1 + twice)) - lengths
    # A field's tag and length: the length says whether it is a point of more than 127 bytes, or of 16383.
    window = starts + 2 + (lengths > 129) + (lengths > 16_386) + (lengths > 2_097_155)
    return _Template(bytearray().join(each), (window - lengths)[twice], window)


def _single_points(group: Group, series: SeriesTable) -> list[bytes]:
    of_series = [series.names[at] for at in series.places.tolist()]
    more = [points.said(one) for one in group.suffixes]
    if group.gauge:
        double = group.gauge is Kind.RATE
        return [points.gauge(one, end, double=double) for one in of_series for end in more]
    if more == [b""]:
        return of_series
    return [points.longer(one, end) for one in of_series for end in more]


def _fill_times(
    template: _Template, group: Group, series: SeriesTable, has_base: Mask, *, whole: bool
) -> None:
    """Write starts and ends; *whole*: from the birth on."""
    numbers, each = _eights(template.blob), len(group.suffixes)
    if group.gauge:
        numbers[template.window + points.GAUGE_TIME] = series.end_ns
        return
    starts = series.birth_ns if whole else np.repeat(series.start_ns, each)
    numbers[template.window + points.START] = starts
    numbers[template.window + points.TIME] = series.end_ns
    if len(template.base):
        numbers[template.base + points.START] = series.birth_ns
        numbers[template.base + points.TIME] = np.repeat(series.settled_ns[has_base], each)
