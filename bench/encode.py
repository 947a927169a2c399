# SPDX-License-Identifier: Apache-2.0
"""Encode a batch of the same series again, beside the generated protobuf classes."""

from collections.abc import Iterator, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from bench.keys import RESOURCE, made, schema
from bench.measure import in_turns
from bench.table import Goal, Row, row
from sidecar import bpf_reader, delta
from sidecar.model import MapIdentity, Series, Snapshot, Temporality
from sidecar.otlp_encode import encode

_KEYS = 10_000
_ROUNDS = 7


def rows() -> Iterator[Row]:
    """Yield the time for 10,000 series."""
    meaning = schema(1)
    with made(_KEYS, 1) as held:
        identity = MapIdentity("boot", 1, held.info.type, 4, 8, held.info.max_entries)
        reading = bpf_reader.read(held.fd, held.info, meaning)
    series = delta.advance(
        delta.since_birth(Snapshot(identity, 1, 2, reading)), [Snapshot(identity, 1, 3, reading)], meaning
    ).series
    measured = [(meaning, series)]
    points = [(one.attributes[0][1], one.counts[0]) for one in series]
    encode(RESOURCE, Temporality.DELTA, measured)
    functions = {
        "ours": lambda: encode(RESOURCE, Temporality.DELTA, measured),
        "classes": lambda: _generated(points, series[0]),
    }
    taken = {name: samples.per(1e-3) for name, samples in in_turns(functions, _ROUNDS).items()}
    name, goal = "encode 10,000 series again", Goal("ratio", 20, at_most=False)
    yield row(name, taken["ours"], "ms", "generated classes", taken["classes"], goal, cheaper=True)


def _generated(points: Sequence[tuple[object, int]], one: Series) -> bytes:
    """Return what is sent, made as a reader of the protocol's documentation would."""
    body = Sum(aggregation_temporality=AGGREGATION_TEMPORALITY_DELTA, is_monotonic=True)
    for key, count in points:
        body.data_points.append(
            NumberDataPoint(
                attributes=[KeyValue(key="key", value=AnyValue(int_value=int(str(key))))],
                start_time_unix_nano=one.start_ns,
                time_unix_nano=one.end_ns,
                as_int=count,
            )
        )
    metric = Metric(name="bench.field0", unit="{packet}", description="Bench.", sum=body)
    resource = ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=[metric])])
    return ExportMetricsServiceRequest(resource_metrics=[resource]).SerializeToString()
