# SPDX-License-Identifier: Apache-2.0
"""
Requests for gauges of series that no longer exist (pure).

A gauge holds until its next point, so the Collector would serve that of a deleted key for another day.
A point without a recorded value ends it (`metrics.proto`, DataPointFlags).
"""

from collections.abc import Iterator, Sequence

from sidecar.model import Temporality
from sidecar.otlp import message, points
from sidecar.otlp.message import ResourceAttributes
from sidecar.schema import Instrument, Schema


def requests(
    resource: ResourceAttributes, schema: Schema, names: Sequence[bytes], end_ns: int
) -> Iterator[bytes]:
    """
    Yield requests with a point without a recorded value of each gauge for each series.

    Args:
        resource: Attributes of the resource.
        schema: The schema that has the gauges.
        names: The series that are gone, each by its encoded attributes.
        end_ns: The time of the points, Unix ns.

    """
    gauges = [instrument for instrument in schema.instruments if not instrument.kind.is_sum]

    def encode_range(first: int, last: int) -> bytes:
        return message.request(resource, list(_metrics(gauges, names[first:last], end_ns)))

    size = max(1, message.POINTS_PER_REQUEST // max(1, len(gauges)))
    for first in range(0, len(names), size):
        yield from message.within_limit(encode_range, first, min(first + size, len(names)))


def _metrics(gauges: Sequence[Instrument], names: Sequence[bytes], end_ns: int) -> Iterator[message.Part]:
    for instrument in gauges:
        suffix = instrument.encoded_attributes
        for name in names:
            # One metric a point: the Collector's prometheus exporter stops reading a metric here (0.155).
            point = points.without_value(end_ns, name + suffix)
            yield from message.metric(instrument, Temporality.DELTA, point)
