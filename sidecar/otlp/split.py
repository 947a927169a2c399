# SPDX-License-Identifier: Apache-2.0
"""
Split a request into smaller ones (pure).

For a receiver, or a proxy in front of it, whose limit is below 4 MiB. Neither the points nor the order of
those of one series change: a window that was attempted is immutable, its packing is not.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

SMALLEST_BYTES = 64 * 1024
"""No receiver has a smaller limit: a request of this size is not refused for its size."""

_Run = tuple[int, Sequence[Any]]
"""The index of a metric, and the points of one of its series: the base point and the window."""


def split(request: bytes, most: int) -> Iterator[bytes]:
    """Yield requests of at most *most* bytes, or of a single series, with the points of *request*."""
    if len(request) <= most:
        yield request
        return
    message = ExportMetricsServiceRequest.FromString(request)
    runs = list(_runs(message))
    if len(runs) < 2:
        yield request
        return
    middle = len(runs) // 2
    for half in (runs[:middle], runs[middle:]):
        yield from split(_repacked(message, half), most)


def _metrics(message: Any) -> Any:
    return message.resource_metrics[0].scope_metrics[0].metrics


def _points(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data")).data_points


def _runs(message: Any) -> Iterator[_Run]:
    for index, metric in enumerate(_metrics(message)):
        for _, points in groupby(_points(metric), key=lambda point: list(point.attributes)):
            yield index, list(points)


def _repacked(message: Any, runs: Sequence[_Run]) -> bytes:
    """Return *message* with only these points, serialized."""
    part = ExportMetricsServiceRequest()
    resource = part.resource_metrics.add()
    resource.resource.CopyFrom(message.resource_metrics[0].resource)
    scope = resource.scope_metrics.add()
    scope.scope.CopyFrom(message.resource_metrics[0].scope_metrics[0].scope)
    for index, of_metric in groupby(runs, key=lambda run: run[0]):
        metric = scope.metrics.add()
        metric.CopyFrom(_metrics(message)[index])
        del _points(metric)[:]
        for _, points in of_metric:
            _points(metric).extend(points)
    return part.SerializeToString(deterministic=True)
