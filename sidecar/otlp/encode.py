# SPDX-License-Identifier: Apache-2.0
"""
From series to the bytes of ExportMetricsServiceRequests (pure).

Message types: `metrics_service.proto` and `metrics.proto` of opentelemetry-proto.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import add
from typing import Any, NamedTuple

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import SeriesTable
from sidecar.kinds import Kind
from sidecar.model import ALL_VIEWS, Field, Series, Temporality
from sidecar.otlp import message, points
from sidecar.otlp.message import ResourceAttributes
from sidecar.schema import Instrument, Schema, SourceSeries
from sidecar.u64 import LARGEST_COUNT, U64, signed

_SeriesOfSchema = tuple[Schema, Series]
_Window = tuple[bytes, tuple[int, ...]]
"""The times of a point, and the counts of all numbers."""


def encode(
    resource: ResourceAttributes, temporality: Temporality, sources: SourceSeries
) -> tuple[bytes, ...]:
    """
    Return serialized requests with the points of each instrument for each series.

    Each request is below the message limit of a gRPC server; the points of one series stay together.

    Raises:
        SourceError: A count does not fit `as_int`.

    """
    requests: list[bytes] = []
    others = []
    for schema, series in sources:
        columns = _in_columns(resource, temporality, schema, series)
        requests += columns or ()
        others += [] if columns is not None else [(schema, series)]
    for chunk in _chunks(others):
        requests += _requests(resource, temporality, chunk)
    return tuple(requests)


def _in_columns(
    resource: ResourceAttributes, temporality: Temporality, schema: Schema, series: Sequence[Series]
) -> Iterable[bytes] | None:
    """Return the requests of a large source, which has requests of its own; None for the others."""
    if not isinstance(series, SeriesTable):
        return None
    # Small maps need no numpy: it is 12 MB.
    from sidecar.otlp import columns_encode  # noqa: PLC0415

    if not columns_encode.is_encodable(temporality, schema, series):
        return None
    return columns_encode.requests(resource, temporality, schema, series)


def _chunks(sources: SourceSeries) -> Iterator[list[_SeriesOfSchema]]:
    chunk: list[_SeriesOfSchema] = []
    size = 0
    for schema, many in sources:
        for series in many:
            if chunk and size + schema.size > message.POINTS_PER_REQUEST:
                yield chunk
                chunk, size = [], 0
            chunk.append((schema, series))
            size += schema.size
    if chunk:
        yield chunk


def _requests(
    resource: ResourceAttributes, temporality: Temporality, chunk: Sequence[_SeriesOfSchema]
) -> Iterator[bytes]:
    def encode_range(first: int, last: int) -> bytes:
        return message.request(resource, _metrics(temporality, chunk[first:last]))

    return message.within_limit(encode_range, 0, len(chunk))


class _Row(NamedTuple):
    """A series with its encoded attributes, and the points of its sums."""

    schema: Schema
    series: Series
    name: bytes
    windows: Sequence[_Window]


def _metrics(temporality: Temporality, chunk: Iterable[_SeriesOfSchema]) -> list[message.Part]:
    """Return the metrics of a chunk; instruments with the same name, of any source, share a metric."""
    metrics: dict[object, tuple[Instrument, list[bytes]]] = {}
    for _, alike in groupby(chunk, _instruments):
        rows = [
            _Row(schema, series, encode_attributes(series.attributes), _windows(series, temporality))
            for schema, series in alike
        ]
        first = rows[0]
        counted = _counts(rows, first.schema.counts)
        for placed in first.schema.positions:
            at, instrument = placed
            if first.series.views != ALL_VIEWS and not first.schema.applies(instrument, first.series.views):
                continue
            metric = metrics.get(instrument.metric)
            if metric is None:
                metric = metrics[instrument.metric] = instrument, []
            if instrument.is_count and at in counted:
                metric[1].append(counted[at])
            else:
                for schema, series, name, windows in rows:
                    metric[1].extend(_points(schema, placed, series, windows, name))
    parts: list[message.Part] = []
    for instrument, data_points in metrics.values():
        parts += message.metric(instrument, temporality, b"".join(data_points))
    return parts


def _instruments(of: _SeriesOfSchema) -> object:
    """Return what is equal for series that are encoded together, instrument by instrument."""
    schema, series = of
    is_alike = series.views == ALL_VIEWS and not schema.shares_metrics
    return schema.positions if is_alike else id(series)


def _counts(rows: Sequence[_Row], numbers: Iterable[int]) -> Mapping[int, bytes]:
    """Return the points of those *numbers* whose counts fit `as_int`: only the values differ between them."""
    windows = [(row.name, *window) for row in rows for window in row.windows]
    heads = [points.integer_head(times, name) for name, times, _ in windows]
    names = [name for name, *_ in windows]
    # What is before, between and after the values, and a place for each of them.
    parts = [b""] * (2 * len(windows) + 1)
    parts[::2] = [heads[0], *map(add, names, heads[1:]), names[-1]]
    encoded = {}
    for at in numbers:
        counts = [each[at] for *_, each in windows]
        if max(counts) <= LARGEST_COUNT:
            parts[1::2] = [count.to_bytes(8, "little") for count in counts]
            encoded[at] = b"".join(parts)
    return encoded


def _points(
    schema: Schema, placed: tuple[int, Instrument], series: Series, windows: Sequence[_Window], name: bytes
) -> Iterator[bytes]:
    """Yield the points of an instrument, after the index of its number, for a series, by its encoded name."""
    at, instrument = placed
    kind, field, attributes = instrument.kind, schema.numbers[at], name + instrument.encoded_attributes
    if instrument.histogram:
        for times, counts in windows:
            yield _histogram(schema, instrument, times, counts, attributes)
    elif kind.is_sum:
        for times, counts in windows:
            if not instrument.is_double:
                kind.check(counts[at], field)
            yield _point(instrument, field, times, counts[at], attributes)
    else:
        value = kind.read(series, at)
        if not instrument.is_double:
            kind.check(value, field)
        yield _point(instrument, field, points.times(0, series.end_ns), value, attributes)


def _point(instrument: Instrument, field: Field, times: bytes, value: Any, attributes: bytes) -> bytes:
    if instrument.scale is not None:
        value = signed(value) if instrument.kind.is_signed(field) and not instrument.kind.is_double else value
        return points.double(times, instrument.scale(value), attributes)
    encode = points.double if instrument.kind.is_double else points.integer
    return encode(times, value, attributes)


def _histogram(
    schema: Schema, instrument: Instrument, times: bytes, numbers: Sequence[int], attributes: bytes
) -> bytes:
    histogram, places = instrument.histogram, schema.places(instrument)
    assert histogram is not None  # noqa: S101  # the caller looked
    total = histogram.scale(places.total(numbers)) if places.sums else None
    encode = points.exponential if instrument.kind is Kind.EXPONENTIAL else points.histogram
    return encode(times, places.buckets(numbers), total, histogram, attributes)


def _windows(series: Series, temporality: Temporality) -> Sequence[_Window]:
    """Return the times of each point of a sum, and the counts of all fields modulo 2^64."""
    if temporality is Temporality.CUMULATIVE:
        return [(points.times(series.start_time_ns, series.end_ns), series.totals)]
    window = points.times(series.start_ns, series.end_ns), series.counts
    if temporality is Temporality.DELTA or series.is_new:
        return [window]
    counted = zip(series.totals, series.counts, strict=True)
    before = tuple([(total - count) & U64 for total, count in counted])
    return [(points.times(series.start_time_ns, series.start_time_ns + points.BASE_NS), before), window]
