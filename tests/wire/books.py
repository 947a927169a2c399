# SPDX-License-Identifier: Apache-2.0
"""The totals of a Collector, to compare what Prometheus would show with the truth."""

import threading
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA, NumberDataPoint


@dataclass(frozen=True)
class Window:
    """One accepted data point."""

    start_ns: int
    end_ns: int
    count: int


class Books:
    """
    The books of two Collectors behind one address; only one is reachable at a time.

    Each adds up as `delta_to_cumulative` does (tests/model/receiver.py): a delta point is dropped if its time
    is not newer than the stream's last or its start is older than the stream's first; any other is added in
    full. A cumulative point replaces the one before.
    """

    def __init__(self):
        self.windows = {}
        self.windows_of_the_other = {}
        self._lock = threading.Lock()

    def forget(self):
        """Lose the state, as in a restart."""
        self.windows.clear()

    def fail_over(self):
        """Route requests to the other Collector; both keep running."""
        with self._lock:
            self.windows, self.windows_of_the_other = self.windows_of_the_other, self.windows

    def total(self, metric, **attributes):
        """What Prometheus would show for a sum, over all streams with these attributes."""
        return total(self.windows, metric, **attributes)

    def total_of_the_other(self, metric):
        """The total at the Collector that is not reachable now."""
        return total(self.windows_of_the_other, metric)

    def count(self, body):
        """Add the points of one request."""
        with self._lock:
            for stream, point, is_delta in points(body):
                window = Window(point.start_time_unix_nano, point.time_unix_nano, point.as_int)
                known = self.windows.setdefault(stream, [])
                if known and (window.end_ns <= known[-1].end_ns or window.start_ns < known[0].start_ns):
                    continue
                if not is_delta:
                    known.clear()
                known.append(window)


def total(windows, metric, **attributes):
    """Add up the accepted points of a sum, over all streams with these attributes."""
    return sum(
        window.count
        for (_, name, at), accepted in windows.items()
        if name == metric and set(attributes.items()) <= set(at)
        for window in accepted
    )


def windows(books, metric="xdp.packets.total"):
    """The accepted windows of a sum, one list per stream, without probes."""
    return [
        [window for window in accepted if not is_probe(window)]
        for (_, name, _), accepted in books.windows.items()
        if name == metric
    ]


def is_probe(window):
    """Whether a window is a probe: empty and 1 ns long, sent to learn whether points are accepted."""
    return (window.end_ns - window.start_ns, window.count) == (1, 0)


def points(body):
    """
    Yield (stream, point, is_delta) for each point of a sum; a stream is (resource, metric, attributes).

    Each bucket of a histogram is a sum, `name[bucket]`, and so is what it added up, `name.sum`.
    """
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                is_delta = metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
                for point in metric.sum.data_points:
                    stream = (_pairs(resource.resource.attributes), metric.name, _pairs(point.attributes))
                    yield stream, point, is_delta
                is_delta = metric.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
                for point in metric.histogram.data_points:
                    sums = {f"[{at}]": count for at, count in enumerate(point.bucket_counts)}
                    for name, count in {**sums, ".sum": round(point.sum)}.items():
                        stream = (
                            *(_pairs(resource.resource.attributes), metric.name + name),
                            _pairs(point.attributes),
                        )
                        times = {
                            "start_time_unix_nano": point.start_time_unix_nano,
                            "time_unix_nano": point.time_unix_nano,
                        }
                        yield stream, NumberDataPoint(as_int=count, **times), is_delta


def _pairs(attributes):
    return tuple((attribute.key, attribute.value.string_value) for attribute in attributes)
