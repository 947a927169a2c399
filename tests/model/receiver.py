# SPDX-License-Identifier: Apache-2.0
"""
What adds up the points, as frozen values: the Collector and Prometheus.

The Collector follows `delta_to_cumulative` and the prometheus exporter of contrib v0.165.1 rule by rule:
`Aggregate` in internal/delta/delta.go and `accumulateSum` in accumulator.go.
"""

from functools import cache
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from tests.model.machine import put

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class Point(NamedTuple):
    """A data point of the sum `xdp.packets.total`."""

    source: int
    start: int
    end: int
    count: int
    cumulative: bool


@cache
def points(request: bytes) -> tuple[Point, ...]:
    """Return the points of a request; the interface's name is the number of its source."""
    decoded = []
    for resource in ExportMetricsServiceRequest.FromString(request).resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            cumulative = metric.sum.aggregation_temporality == _CUMULATIVE
            decoded += [
                Point(
                    int(point.attributes[0].value.string_value),
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.as_int,
                    cumulative,
                )
                for point in metric.sum.data_points
            ]
    return tuple(decoded)


class Stream(NamedTuple):
    """The state of a stream in `delta_to_cumulative`."""

    start: int
    end: int
    total: int


class Collector(NamedTuple):
    """`delta_to_cumulative`, and after it the prometheus exporter with the time and value that it serves."""

    streams: tuple[Stream | None, ...]
    served: tuple[tuple[int, int] | None, ...]

    def taking(self, points: "tuple[Point, ...]") -> "Collector":
        collector = self
        for point in points:
            collector = collector._taking(point)
        return collector

    def _taking(self, point: Point) -> "Collector":
        if point.cumulative:
            return self._serving(point.source, point.end, point.count)
        stream = self.streams[point.source]
        if stream is None:
            stream = Stream(point.start, point.end, point.count)
        elif point.start < stream.start or point.end <= stream.end:
            return self  # dropped: ErrOlderStart, ErrOutOfOrder
        else:
            stream = Stream(stream.start, point.end, stream.total + point.count)
        return self._replace(streams=put(self.streams, point.source, stream))._serving(
            point.source, stream.end, stream.total
        )

    def _serving(self, source: int, end: int, total: int) -> "Collector":
        served = self.served[source]
        if served is not None and end < served[0]:
            return self
        return self._replace(served=put(self.served, source, (end, total)))


class Series(NamedTuple):
    """A series in Prometheus: the newest sample, and the increase from zero with resets as in PromQL."""

    value: int | None = None
    increase: int = 0

    def scraped(self, value: int) -> "Series":
        before = self.value or 0
        return Series(value, self.increase + (value - before if value >= before else value))
