# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's own metrics as an ExportMetricsServiceRequest (pure).

They are cumulative and outside the delivery rule: the next request makes up for a lost one. Their
names are in `self_metrics`.
"""

from collections.abc import Iterable, Sequence

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint

from sidecar.model import Attribute
from sidecar.observe.telemetry import Family
from sidecar.otlp.message import encode_metrics, key_values


def encode_telemetry(
    resource: Sequence[Attribute], families: Iterable[Family], start_ns: int, now_ns: int
) -> bytes:
    """Return the request; *start_ns* is when the process started, both are Unix time."""
    return encode_metrics(
        resource, (_metric(family, start_ns, now_ns) for family in families if family.samples)
    )


def _metric(family: Family, start_ns: int, now_ns: int) -> Metric:
    of = family.metric
    metric = Metric(name=of.name, description=of.help, unit=of.unit)
    if of.kind == "counter":
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = True
    data = metric.sum if of.kind == "counter" else metric.gauge
    data.data_points.extend(
        NumberDataPoint(
            attributes=key_values(zip(of.labels, labels, strict=True)),
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            **({"as_int": value} if isinstance(value, int) else {"as_double": value}),
        )
        for labels, value in family.samples.items()
    )
    return metric
