# SPDX-License-Identifier: Apache-2.0
"""
From series to the bytes of ExportMetricsServiceRequests (pure).

Message types: `metrics_service.proto` and `metrics.proto` of opentelemetry-proto.
"""

from collections.abc import Iterable, Iterator, Sequence

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import SeriesTable
from sidecar.model import Series, Temporality
from sidecar.otlp import message, points
from sidecar.otlp.message import ResourceAttributes
from sidecar.schema import Instrument, Schema, SourceSeries
from sidecar.u64 import U64

_SeriesOfSchema = tuple[Schema, Series]


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
            if chunk and size + len(schema.instruments) > message.POINTS_PER_REQUEST:
                yield chunk
                chunk, size = [], 0
            chunk.append((schema, series))
            size += len(schema.instruments)
    if chunk:
        yield chunk


def _requests(
    resource: ResourceAttributes, temporality: Temporality, chunk: Sequence[_SeriesOfSchema]
) -> Iterator[bytes]:
    def encode_range(first: int, last: int) -> bytes:
        return message.request(resource, _metrics(temporality, chunk[first:last]))

    return message.within_limit(encode_range, 0, len(chunk))


def _metrics(temporality: Temporality, chunk: Iterable[_SeriesOfSchema]) -> list[message.Part]:
    """Return the metrics of a chunk; instruments with the same name, of any source, share a metric."""
    metrics: dict[object, tuple[Instrument, list[bytes]]] = {}
    for schema, series in chunk:
        encoded, windows = encode_attributes(series.attributes), _windows(series, temporality)
        for at, instrument in schema.positions:
            metric = metrics.get(instrument.metric)
            if metric is None:
                metric = metrics[instrument.metric] = instrument, []
            data_points = metric[1]
            attributes = encoded + instrument.encoded_attributes
            kind, field = instrument.kind, schema.layout.fields[at]
            if kind.is_sum:
                for times, counts in windows:
                    kind.check(counts[at], field)
                    data_points.append(points.integer(times, counts[at], attributes))
            else:
                value = kind.read(series, at)
                kind.check(value, field)
                encode = points.double if kind.is_double else points.integer
                data_points.append(encode(points.times(0, series.end_ns), value, attributes))
    return [
        part
        for instrument, data_points in metrics.values()
        for part in message.metric(instrument, temporality, b"".join(data_points))
    ]


def _windows(series: Series, temporality: Temporality) -> Sequence[tuple[bytes, tuple[int, ...]]]:
    """Return the times of each point of a sum, and the counts of all fields modulo 2^64."""
    if temporality is Temporality.CUMULATIVE:
        return [(points.times(series.start_time_ns, series.end_ns), series.totals)]
    window = points.times(series.start_ns, series.end_ns), series.counts
    if temporality is Temporality.DELTA or series.is_new:
        return [window]
    counted = zip(series.totals, series.counts, strict=True)
    before = tuple([(total - count) & U64 for total, count in counted])
    return [(points.times(series.start_time_ns, series.start_time_ns + points.BASE_NS), before), window]
