# SPDX-License-Identifier: Apache-2.0
"""
From increments to the bytes of ExportMetricsServiceRequests (pure).

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
from sidecar.model import Attribute, Increment
from sidecar.profile import Profile

SCOPE_NAME = "xdp-otel"
# `as_int` is an sfixed64: a larger increment cannot be said in OTLP.
LARGEST_INCREMENT = (1 << 63) - 1

ResourceAttributes = Sequence[Attribute]


def encode(
    resource: ResourceAttributes, profile: Profile, increments: Sequence[Increment]
) -> tuple[bytes, ...]:
    """
    Return serialized requests with one delta point for each sum and increment, and a gauge for each rate.

    Raises:
        SourceError: An increment does not fit `as_int`.

    """
    if not increments:
        return ()
    metrics = [*_sums(profile, increments), *_rates(profile, increments)]
    request = ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(
                resource=Resource(attributes=_attributes(resource)),
                scope_metrics=[
                    ScopeMetrics(
                        scope=InstrumentationScope(name=SCOPE_NAME, version=__version__), metrics=metrics
                    )
                ],
            )
        ]
    )
    return (request.SerializeToString(deterministic=True),)


def _sums(profile: Profile, increments: Sequence[Increment]) -> Iterable[Metric]:
    position = {field.name: at for at, field in enumerate(profile.layout.fields)}
    for declared in profile.sums:
        metric = Metric(name=declared.name, unit=declared.unit, description=declared.description)
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        metric.sum.is_monotonic = True
        metric.sum.data_points.extend(
            NumberDataPoint(
                attributes=_attributes(increment.attributes),
                start_time_unix_nano=increment.start_ns,
                time_unix_nano=increment.end_ns,
                as_int=_checked(increment.counts[position[declared.field]], declared.field),
            )
            for increment in increments
        )
        yield metric


def _rates(profile: Profile, increments: Sequence[Increment]) -> Iterable[Metric]:
    position = {field.name: at for at, field in enumerate(profile.layout.fields)}
    for declared in profile.rates:
        metric = Metric(name=declared.name, unit=declared.unit, description=declared.description)
        metric.gauge.data_points.extend(
            NumberDataPoint(
                attributes=_attributes(increment.attributes),
                time_unix_nano=increment.end_ns,
                as_double=rate(increment, position[declared.field]),
            )
            for increment in increments
        )
        yield metric


def rate(increment: Increment, field: int) -> float:
    """Return the mean growth of a field over the window, per second."""
    return increment.counts[field] * 1e9 / (increment.end_ns - increment.start_ns)


def _checked(count: int, field: str) -> int:
    if count > LARGEST_INCREMENT:
        raise SourceError(
            f"encode field {field}",
            f"it grew by {count} in one window, more than the 2^63-1 that OTLP can say",
            "is this map really one of packet counters?",
        )
    return count


def _attributes(attributes: Iterable[Attribute]) -> list[KeyValue]:
    return [
        KeyValue(
            key=key,
            value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value),
        )
        for key, value in attributes
    ]
