# SPDX-License-Identifier: Apache-2.0
"""The gauges of a series that is gone get one point without a recorded value."""

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import DataPointFlags

from sidecar.attributes import encode_attributes, from_key_values
from sidecar.kinds import Kind
from sidecar.model import Field, Layout
from sidecar.otlp import message, no_recorded_value
from sidecar.schema import Instrument, Schema

NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
IN, OUT = (("direction", "in"),), (("direction", "out"),)
SCHEMA = Schema(
    "test",
    Layout(16, (Field("level", 0), Field("packets", 64))),
    (
        Instrument("packets", "1", "", "packets"),
        Instrument("level", "1", "Some.", "level", Kind.GAUGE, IN),
        Instrument("level", "1", "Some.", "level", Kind.GAUGE, OUT),
        Instrument("rate", "1", "", "packets", Kind.RATE),
        Instrument("balance", "1", "", "packets", Kind.UPDOWNCOUNTER),
    ),
    lambda _key: (),
)


def points(requests):
    """Each point of some requests: metric, attributes, time, flags, type of value."""
    for request in requests:
        (resource,) = ExportMetricsServiceRequest.FromString(request).resource_metrics
        assert from_key_values(resource.resource.attributes) == (("host.name", "node-1"),)
        for metric in resource.scope_metrics[0].metrics:
            # The Collector's prometheus exporter would drop any after the first.
            (point,) = metric.gauge.data_points
            value = point.WhichOneof("value")
            yield metric.name, from_key_values(point.attributes), point.time_unix_nano, point.flags, value


def of(names):
    return no_recorded_value.requests((("host.name", "node-1"),), SCHEMA, names, 2000)


def test_each_gauge_has_a_point_without_a_value_and_a_sum_has_none():
    """A sum that is no longer sent just stops."""
    a = (("key", "a"),)

    assert list(points(of([encode_attributes(a)]))) == [
        ("level", a + IN, 2000, NO_VALUE, None),
        ("level", a + OUT, 2000, NO_VALUE, None),
        ("rate", a, 2000, NO_VALUE, None),
    ]


def test_no_series_is_no_request():
    """As in most windows."""
    assert list(of([])) == []


@pytest.mark.parametrize(("limit", "most"), [("POINTS_PER_REQUEST", 7), ("LARGEST_REQUEST_BYTES", 500)])
def test_many_series_take_several_requests(monkeypatch, limit, most):
    """None is larger than a server accepts."""
    monkeypatch.setattr(message, limit, most)
    names = [encode_attributes([("key", f"{number}")]) for number in range(9)]
    requests = list(of(names))

    assert len(requests) > 4
    assert (
        sorted(encode_attributes(attributes) for name, attributes, *_ in points(requests) if name == "rate")
        == names
    )
