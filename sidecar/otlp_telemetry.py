# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's own metrics as an ExportMetricsServiceRequest (pure).

Cumulative, and outside the delivery rule: what is lost of them comes again with the next. Our Collector turns
their names into those that they have on the status endpoint.
"""

from collections.abc import Iterable, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sidecar import __version__
from sidecar.model import Attribute
from sidecar.otlp_encode import SCOPE_NAME, attributes
from sidecar.telemetry import Family


def encode_telemetry(
    resource: Sequence[Attribute], families: Iterable[Family], start_ns: int, now_ns: int
) -> bytes:
    """Return the request; *start_ns* is when the process started, both are Unix time."""
    metrics = [_metric(family, start_ns, now_ns) for family in families]
    scope = ScopeMetrics(scope=InstrumentationScope(name=SCOPE_NAME, version=__version__), metrics=metrics)
    whole = ResourceMetrics(resource=Resource(attributes=attributes(resource)), scope_metrics=[scope])
    return ExportMetricsServiceRequest(resource_metrics=[whole]).SerializeToString(deterministic=True)


def _metric(family: Family, start_ns: int, now_ns: int) -> Metric:
    points = [
        NumberDataPoint(
            attributes=attributes(zip(family.labels, labels, strict=True)),
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            **({"as_int": value} if isinstance(value, int) else {"as_double": value}),
        )
        for labels, value in family.samples.items()
    ]
    if family.kind == "gauge":
        metric = Metric(name=f"otel.{family.name}", description=family.help)
        metric.gauge.data_points.extend(points)
        return metric
    metric = Metric(name=f"otel.{family.name}.total", description=family.help)
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.is_monotonic = True
    metric.sum.data_points.extend(points)
    return metric
