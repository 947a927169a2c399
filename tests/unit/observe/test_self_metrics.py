# SPDX-License-Identifier: Apache-2.0
import re

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sidecar.observe.otlp import encode_telemetry
from sidecar.observe.self_metrics import SELF_METRICS
from sidecar.observe.telemetry import Telemetry


def test_names_and_units_follow_the_conventions():
    """A namespace of our own, no unit and no `total` in a name, no name that is the namespace of another."""
    for name, metric in SELF_METRICS.items():
        assert name.startswith(("xdp.otel.", "xdp.program."))
        assert not re.search(r"total|seconds|bytes|count\b", name)
        assert re.fullmatch(r"\{[a-z_]+\}|s|ns|By", metric.unit)
        assert not any(other.startswith(f"{name}.") for other in SELF_METRICS)


def test_they_are_sent_as_the_table_says():
    """With name, unit and kind; a metric that has no points yet is left out."""
    request = ExportMetricsServiceRequest.FromString(encode_telemetry((), Telemetry().families(), 1, 2))
    (scope,) = request.resource_metrics[0].scope_metrics
    sent = {metric.name: metric for metric in scope.metrics}

    assert set(SELF_METRICS) > set(sent) > {"xdp.otel.ready", "xdp.otel.batches"}
    for name, metric in sent.items():
        assert metric.unit == SELF_METRICS[name].unit
        assert metric.WhichOneof("data") == ("sum" if SELF_METRICS[name].kind == "counter" else "gauge")
        assert metric.sum.is_monotonic == (SELF_METRICS[name].kind == "counter")
        assert metric.sum.data_points or metric.gauge.data_points
