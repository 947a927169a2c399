# SPDX-License-Identifier: Apache-2.0
"""
What is around data points: metrics without any, the request of many, and how large it may be (pure).

Message types: `metrics_service.proto` and `metrics.proto` of opentelemetry-proto.
"""

from collections.abc import Iterable, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sidecar import __version__
from sidecar.errors import SourceError
from sidecar.model import Attribute, Temporality
from sidecar.schema import SUMS, Instrument, Kind

SCOPE_NAME = "xdp-otel"

# gRPC servers refuse messages of more than 4 MiB unless told otherwise, after decompression.
LARGEST_REQUEST_BYTES = 4 * 1024 * 1024 - 65_536
# About half of that with short attributes and base points; what is still too large is halved.
POINTS_PER_REQUEST = 16_000

ResourceAttributes = Sequence[Attribute]


def encode_metrics(resource: ResourceAttributes, metrics: Iterable[Metric]) -> bytes:
    """Return metrics as one serialized ExportMetricsServiceRequest of ours."""
    scope, whole = envelope(resource)
    scope.metrics.extend(metrics)
    whole.scope_metrics.append(scope)
    return ExportMetricsServiceRequest(resource_metrics=[whole]).SerializeToString(deterministic=True)


def envelope(resource: ResourceAttributes) -> tuple[ScopeMetrics, ResourceMetrics]:
    """Return what is around metrics, still empty."""
    scope = ScopeMetrics(scope=InstrumentationScope(name=SCOPE_NAME, version=__version__))
    return scope, ResourceMetrics(resource=Resource(attributes=key_values(resource)))


def empty_metric(instrument: Instrument, temporality: Temporality) -> Metric:
    """Return a metric without points."""
    metric = Metric(name=instrument.name, unit=instrument.unit, description=instrument.description)
    if instrument.kind in SUMS:
        metric.sum.is_monotonic = instrument.kind is Kind.COUNTER
        metric.sum.aggregation_temporality = (
            AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            if temporality is Temporality.CUMULATIVE
            else AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        )
    return metric


def key_values(attributes: Iterable[Attribute]) -> list[KeyValue]:
    """Return attributes as messages (`common.proto`, KeyValue)."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes]


def _any_value(value: str | int | bool) -> AnyValue:
    # A bool is an int in Python.
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


def too_large(field: str, count: int) -> SourceError:
    """Return the error of a field that holds more than `LARGEST_COUNT`."""
    return SourceError(
        f"encode field {field}",
        f"{count} is more than the 2^63-1 that OTLP can say, so it is no count, or was counted down",
        "name the other fields under `metrics:` in a configuration file, or make it an updowncounter",
    )
