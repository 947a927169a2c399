# SPDX-License-Identifier: Apache-2.0
"""What a Collector adds up, so that what Prometheus would show can be held against the truth."""

import threading
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA


@dataclass(frozen=True)
class Window:
    """One point that was counted."""

    start_ns: int
    end_ns: int
    count: int


class Books:
    """
    The books of two Collectors behind one address, of which one is reached at a time.

    Each adds up as `deltatocumulative` does (tests/model/receiver.py): a delta point whose time is not newer
    than the stream's last, or whose start is older than the stream's first, is dropped; any other is added
    in full. Of cumulative points the newest holds.
    """

    def __init__(self):
        self.windows = {}
        self.windows_of_the_other = {}
        self._lock = threading.Lock()

    def forget(self):
        """Lose the state, as at a restart."""
        self.windows.clear()

    def fail_over(self):
        """Let the other one be reached from now on; both go on living."""
        with self._lock:
            self.windows, self.windows_of_the_other = self.windows_of_the_other, self.windows

    def total(self, metric, **attributes):
        """What Prometheus would show for a sum: of all its streams, or of those with these attributes."""
        return total(self.windows, metric, **attributes)

    def total_of_the_other(self, metric):
        """The same, of the Collector that is not reached now."""
        return total(self.windows_of_the_other, metric)

    def count(self, body):
        """Take one request."""
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
    """Add up what was counted of a sum, by the streams that have these attributes."""
    return sum(
        window.count
        for (_, name, at), found in windows.items()
        if name == metric and set(attributes.items()) <= set(at)
        for window in found
    )


def windows(books, metric="xdp.packets.total"):
    """The windows of a sum that were counted, stream by stream."""
    return [found for (_, name, _), found in books.windows.items() if name == metric]


def points(body):
    """Yield stream (resource, metric, attributes), point and whether it is a delta, for each sum's points."""
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                is_delta = metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
                for point in metric.sum.data_points:
                    stream = (_pairs(resource.resource.attributes), metric.name, _pairs(point.attributes))
                    yield stream, point, is_delta


def _pairs(attributes):
    return tuple((one.key, one.value.string_value) for one in attributes)
