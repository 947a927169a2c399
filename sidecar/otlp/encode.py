# SPDX-License-Identifier: Apache-2.0
"""
From series to the bytes of ExportMetricsServiceRequests (pure).

Message types: `metrics_service.proto` and `metrics.proto` of opentelemetry-proto.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import SeriesTable
from sidecar.model import Series, Temporality
from sidecar.otlp import message, points
from sidecar.otlp.message import ResourceAttributes, key_values, too_large
from sidecar.otlp.template import Last
from sidecar.schema import SUMS, Instrument, Kind, Schema, SourceSeries
from sidecar.u64 import LARGEST_COUNT, U64, signed

# No byte depends on it.
_last = Last()

One = tuple[Schema, Series]


def encode(
    resource: ResourceAttributes, temporality: Temporality, measured: SourceSeries
) -> tuple[bytes, ...]:
    """
    Return serialized requests with a point of each instrument for each series.

    Each request is below the limit of a gRPC server's messages; the points of one series stay together.

    Raises:
        SourceError: A count does not fit `as_int`.

    """
    requests: list[bytes] = []
    others = []
    for schema, series in measured:
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

    if not columns_encode.is_plain(temporality, schema, series):
        return None
    return columns_encode.requests(resource, temporality, schema, series)


def _chunks(measured: SourceSeries) -> Iterator[list[One]]:
    chunk: list[One] = []
    points = 0
    for schema, series in measured:
        for one in series:
            if chunk and points + len(schema.instruments) > message.POINTS_PER_REQUEST:
                yield chunk
                chunk, points = [], 0
            chunk.append((schema, one))
            points += len(schema.instruments)
    if chunk:
        yield chunk


def _requests(
    resource: ResourceAttributes, temporality: Temporality, chunk: Sequence[One]
) -> tuple[bytes, ...]:
    encoded = _request(resource, temporality, chunk)
    if len(encoded) <= message.LARGEST_REQUEST_BYTES or len(chunk) == 1:
        return (encoded,)
    half = len(chunk) // 2
    return (
        *_requests(resource, temporality, chunk[:half]),
        *_requests(resource, temporality, chunk[half:]),
    )


def _request(resource: ResourceAttributes, temporality: Temporality, chunk: Sequence[One]) -> bytes:
    if not all(one.start_time_ns and one.start_ns and one.end_ns for _, one in chunk):
        # A time of zero is left out of the bytes.
        return message.encode_metrics(resource, _metrics(temporality, chunk))
    # Attributes by their bytes, since True is equal to 1.
    series = [
        (schema, encode_attributes(one.attributes), _has_base(one, temporality)) for schema, one in chunk
    ]
    return _last.said(
        (resource, temporality, series),
        lambda: message.encode_metrics(resource, _metrics(temporality, chunk)),
        lambda: [*chain.from_iterable(_numbers(temporality, chunk))],
    )


def _metrics(temporality: Temporality, chunk: Sequence[One]) -> Iterable[Metric]:
    """Return the metrics of a chunk; instruments of one name, whatever their source, make up one."""
    metrics: dict[tuple[str, str, Kind], Metric] = {}
    for schema, one in chunk:
        for at, instrument in schema.positions(*Kind):
            if instrument.metric not in metrics:
                metrics[instrument.metric] = message.empty_metric(instrument, temporality)
            metric = metrics[instrument.metric]
            if instrument.kind in SUMS:
                metric.sum.data_points.extend(_sum_points(instrument, at, one, temporality))
            else:
                metric.gauge.data_points.append(_gauge_point(schema, instrument, at, one))
    return metrics.values()


def _sum_points(
    instrument: Instrument, at: int, one: Series, temporality: Temporality
) -> Iterator[NumberDataPoint]:
    labels = key_values((*one.attributes, *instrument.attributes))
    for start_ns, end_ns, count in _windows(one, at, temporality):
        yield NumberDataPoint(
            attributes=labels,
            start_time_unix_nano=start_ns,
            time_unix_nano=end_ns,
            as_int=_encodable(count, instrument),
        )


def _numbers(temporality: Temporality, chunk: Sequence[One]) -> Iterable[list[float]]:
    """Return the numbers in the points of `_metrics`, metric by metric."""
    metrics: dict[tuple[str, str, Kind], list[float]] = {}
    for schema, one in chunk:
        for at, instrument in schema.positions(*Kind):
            numbers = metrics.setdefault(instrument.metric, [])
            if instrument.kind in SUMS:
                for start_ns, end_ns, count in _windows(one, at, temporality):
                    numbers += (start_ns, end_ns, _encodable(count, instrument))
            else:
                numbers += (one.end_ns, _gauge_value(schema, instrument, at, one))
    return metrics.values()


def _windows(one: Series, at: int, temporality: Temporality) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, count modulo 2^64) of each point of a field."""
    if temporality is Temporality.CUMULATIVE:
        yield one.start_time_ns, one.end_ns, one.totals[at]
        return
    if _has_base(one, temporality):
        yield one.start_time_ns, one.start_time_ns + points.BASE_NS, (one.totals[at] - one.counts[at]) & U64
    yield one.start_ns, one.end_ns, one.counts[at]


def _has_base(one: Series, temporality: Temporality) -> bool:
    return temporality is Temporality.DELTA_WITH_BASE and not one.is_new


def _gauge_point(schema: Schema, instrument: Instrument, at: int, one: Series) -> NumberDataPoint:
    value = _gauge_value(schema, instrument, at, one)
    return NumberDataPoint(
        attributes=key_values((*one.attributes, *instrument.attributes)),
        time_unix_nano=one.end_ns,
        **({"as_int": value} if isinstance(value, int) else {"as_double": value}),
    )


def _gauge_value(schema: Schema, instrument: Instrument, at: int, one: Series) -> float:
    if instrument.kind is Kind.RATE:
        return rate(one, at)
    value = one.values[at]
    return signed(value) if schema.layout.fields[at].signed else _checked(value, instrument)


def rate(one: Series, at: int) -> float:
    """Return the mean growth of a field over the time that it took, per second; 0 if nobody can tell."""
    return signed(one.counts[at]) * 1e9 / one.elapsed_ns if one.elapsed_ns else 0.0


def _encodable(count: int, instrument: Instrument) -> int:
    return signed(count) if instrument.kind is Kind.UPDOWNCOUNTER else _checked(count, instrument)


def _checked(count: int, instrument: Instrument) -> int:
    if count > LARGEST_COUNT:
        raise too_large(instrument.field, count)
    return count
