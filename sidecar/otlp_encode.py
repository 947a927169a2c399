# SPDX-License-Identifier: Apache-2.0
"""
From series to the bytes of ExportMetricsServiceRequests (pure).

Message types: `metrics_service.proto` and `metrics.proto` of opentelemetry-proto.
"""

from collections.abc import Iterable, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sidecar import __version__
from sidecar.errors import SourceError
from sidecar.model import Attribute, Series, Temporality
from sidecar.profile import Profile

SCOPE_NAME = "xdp-otel"
# `as_int` is an sfixed64: a larger count cannot be said in OTLP.
LARGEST_COUNT = (1 << 63) - 1

# gRPC servers refuse messages of more than 4 MiB unless told otherwise, after decompression.
LARGEST_REQUEST_BYTES = 4 * 1024 * 1024 - 65_536
# About a quarter of that with short attributes; what is still too large is halved.
SERIES_PER_REQUEST = 500

ResourceAttributes = Sequence[Attribute]


def encode(
    resource: ResourceAttributes, profile: Profile, temporality: Temporality, series: Sequence[Series]
) -> tuple[bytes, ...]:
    """
    Return serialized requests with the points of each sum and series, and a gauge for each rate.

    Each request is below the limit of a gRPC server's messages; the points of one series stay together.

    Raises:
        SourceError: A count does not fit `as_int`.

    """
    chunks = (series[at : at + SERIES_PER_REQUEST] for at in range(0, len(series), SERIES_PER_REQUEST))
    return tuple(encoded for chunk in chunks for encoded in _requests(resource, profile, temporality, chunk))


def _requests(
    resource: ResourceAttributes, profile: Profile, temporality: Temporality, series: Sequence[Series]
) -> tuple[bytes, ...]:
    encoded = encode_metrics(resource, [*_sums(profile, temporality, series), *_rates(profile, series)])
    if len(encoded) <= LARGEST_REQUEST_BYTES or len(series) == 1:
        return (encoded,)
    half = len(series) // 2
    return (
        *_requests(resource, profile, temporality, series[:half]),
        *_requests(resource, profile, temporality, series[half:]),
    )


def encode_metrics(resource: ResourceAttributes, metrics: Iterable[Metric]) -> bytes:
    """Return metrics as one serialized ExportMetricsServiceRequest of ours."""
    scope = ScopeMetrics(scope=InstrumentationScope(name=SCOPE_NAME, version=__version__), metrics=metrics)
    whole = ResourceMetrics(resource=Resource(attributes=attributes(resource)), scope_metrics=[scope])
    return ExportMetricsServiceRequest(resource_metrics=[whole]).SerializeToString(deterministic=True)


def _sums(profile: Profile, temporality: Temporality, series: Sequence[Series]) -> Iterable[Metric]:
    cumulative = temporality is Temporality.CUMULATIVE
    for at, declared in profile.positions(profile.sums):
        metric = Metric(name=declared.name, unit=declared.unit, description=declared.description)
        metric.sum.aggregation_temporality = (
            AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            if cumulative
            else AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        )
        metric.sum.is_monotonic = True
        for one in series:
            metric.sum.data_points.extend(
                NumberDataPoint(
                    attributes=attributes(one.attributes),
                    start_time_unix_nano=start_ns,
                    time_unix_nano=end_ns,
                    as_int=_checked(count, declared.field),
                )
                for start_ns, end_ns, count in _points(one, at, temporality)
            )
        yield metric


def _points(one: Series, at: int, temporality: Temporality) -> Iterable[tuple[int, int, int]]:
    """Yield (start, end, count) of each point of a field."""
    if temporality is Temporality.CUMULATIVE:
        yield one.birth_ns, one.end_ns, one.totals[at]
        return
    if temporality is Temporality.DELTA_WITH_BASE and one.settled_ns > one.birth_ns:
        yield one.birth_ns, one.settled_ns, one.totals[at] - one.counts[at]
    yield one.start_ns, one.end_ns, one.counts[at]


def _rates(profile: Profile, series: Sequence[Series]) -> Iterable[Metric]:
    for at, declared in profile.positions(profile.rates):
        metric = Metric(name=declared.name, unit=declared.unit, description=declared.description)
        metric.gauge.data_points.extend(
            NumberDataPoint(
                attributes=attributes(one.attributes),
                time_unix_nano=one.end_ns,
                as_double=rate(one, at),
            )
            for one in series
        )
        yield metric


def rate(one: Series, field: int) -> float:
    """Return the mean growth of a field over the window, per second."""
    return one.counts[field] * 1e9 / (one.end_ns - one.start_ns)


def _checked(count: int, field: str) -> int:
    if count > LARGEST_COUNT:
        raise SourceError(
            f"encode field {field}",
            f"{count} is more than the 2^63-1 that OTLP can say",
            "is this map really one of packet counters?",
        )
    return count


def attributes(pairs: Iterable[Attribute]) -> list[KeyValue]:
    """Return attributes as OTLP has them."""
    return [
        KeyValue(
            key=key,
            value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value),
        )
        for key, value in pairs
    ]
