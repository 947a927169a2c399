# SPDX-License-Identifier: Apache-2.0
"""
From series that are gone to the bytes of requests (pure).

A gauge holds until it is said again, so whoever keeps it would serve that of a deleted key on: the Collector
for a day. A point without a value says once that there is none (`metrics.proto`, DataPointFlags).
"""

from collections.abc import Iterator, Sequence

from opentelemetry.proto.metrics.v1.metrics_pb2 import DataPointFlags, Metric, NumberDataPoint

from sidecar.attributes import encode_attributes
from sidecar.model import Temporality
from sidecar.otlp import message
from sidecar.otlp.message import ResourceAttributes
from sidecar.schema import GAUGES, Instrument, Schema


def requests(
    resource: ResourceAttributes, schema: Schema, names: Sequence[bytes], end_ns: int
) -> Iterator[bytes]:
    """
    Yield requests with a point without a value of each gauge for each series.

    Args:
        resource: Of all.
        schema: Whose gauges.
        names: The series that are gone (see `points`).
        end_ns: Since when, Unix ns.

    """
    gauges = [instrument for _, instrument in schema.positions(*GAUGES)]
    most = max(1, message.POINTS_PER_REQUEST // max(1, len(gauges)))
    for at in range(0, len(names), most):
        yield from _halved(resource, gauges, names[at : at + most], end_ns)


def _halved(
    resource: ResourceAttributes, gauges: Sequence[Instrument], names: Sequence[bytes], end_ns: int
) -> Iterator[bytes]:
    """Yield one request, or several if it would be too large."""
    encoded = message.encode_metrics(resource, _metrics(gauges, names, end_ns))
    if len(encoded) <= message.LARGEST_REQUEST_BYTES or len(names) == 1:
        yield encoded
        return
    middle = len(names) // 2
    yield from _halved(resource, gauges, names[:middle], end_ns)
    yield from _halved(resource, gauges, names[middle:], end_ns)


def _metrics(gauges: Sequence[Instrument], names: Sequence[bytes], end_ns: int) -> Iterator[Metric]:
    no_value = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
    empty = NumberDataPoint(time_unix_nano=end_ns, flags=no_value).SerializeToString()
    for instrument in gauges:
        suffix = encode_attributes(instrument.attributes)
        for name in names:
            # Of a metric with such a point the Collector's prometheus exporter reads no further (0.155).
            metric = message.empty_metric(instrument, Temporality.DELTA)
            metric.gauge.data_points.append(NumberDataPoint.FromString(name + suffix + empty))
            yield metric
