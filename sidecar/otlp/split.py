# SPDX-License-Identifier: Apache-2.0
"""
Pack the points of a request into smaller ones (pure).

For a receiver, or a proxy before it, that takes less than 4 MiB. No point changes by it, nor the order of
those of one series: a window that was attempted is immutable, how it is packed is not.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

SMALLEST_BYTES = 64 * 1024
"""Nobody takes less; what is refused at this size is not refused for its size."""

Run = tuple[int, Sequence[Any]]
"""The number of a metric, and points of one of its series: the base point and the window."""


def split(request: bytes, most: int) -> Iterator[bytes]:
    """Yield requests of at most *most* bytes with the points of *request*; larger ones if it must be."""
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


def _runs(message: Any) -> Iterator[Run]:
    for number, metric in enumerate(_metrics(message)):
        for _, points in groupby(_points(metric), key=lambda point: list(point.attributes)):
            yield number, list(points)


def _repacked(message: Any, runs: Sequence[Run]) -> bytes:
    """Return a request like *message* that has these points only."""
    part = ExportMetricsServiceRequest()
    resource = part.resource_metrics.add()
    resource.resource.CopyFrom(message.resource_metrics[0].resource)
    scope = resource.scope_metrics.add()
    scope.scope.CopyFrom(message.resource_metrics[0].scope_metrics[0].scope)
    for number, some in groupby(runs, key=lambda run: run[0]):
        metric = scope.metrics.add()
        metric.CopyFrom(_metrics(message)[number])
        del _points(metric)[:]
        for _, points in some:
            _points(metric).extend(points)
    return part.SerializeToString(deterministic=True)
