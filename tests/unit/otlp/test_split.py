# SPDX-License-Identifier: Apache-2.0
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sidecar.model import Series, Temporality
from sidecar.otlp.encode import encode
from sidecar.otlp.split import split
from tests.packet_counter import FIELDS, schema

RESOURCE = (("service.instance.id", "one"),)


def request(count):
    """A request of *count* series, each of nine metrics, with base points."""
    counts = tuple(range(1, len(FIELDS) + 1))
    series = [
        Series((("queue", number),), 10, False, 1000, 2000, counts, tuple(2 * number for number in counts))
        for number in range(count)
    ]
    (whole,) = encode(RESOURCE, Temporality.DELTA_WITH_BASE, [(schema(), series)])
    return whole


def points(*requests):
    """All points, metric by metric, in the order in which they arrive."""
    found = {}
    for each in requests:
        (resource,) = ExportMetricsServiceRequest.FromString(each).resource_metrics
        assert [attribute.value.string_value for attribute in resource.resource.attributes] == ["one"]
        (scope,) = resource.scope_metrics
        for metric in scope.metrics:
            key = metric.name, metric.unit, metric.sum.is_monotonic, metric.sum.aggregation_temporality
            data = metric.gauge if metric.HasField("gauge") else metric.sum
            found.setdefault(key, []).extend(map(str, data.data_points))
    return found


def test_a_request_that_is_small_enough_is_unchanged():
    """It is not even decoded."""
    assert list(split(b"anything", 8)) == [b"anything"]


def test_smaller_requests_have_the_same_points_in_the_same_order():
    """Those of one series, base point and window, stay in one request."""
    whole = request(40)
    parts = list(split(whole, 2000))

    assert len(parts) > 10
    assert max(map(len, parts)) <= 2000
    assert points(*parts) == points(whole)
    for part in parts:
        assert all(len(found) % 2 == 0 for (name, *_), found in points(part).items() if "rate" not in name)


def test_what_cannot_be_split_further_is_left_as_it_is():
    """The points of one metric for one series stay together."""
    parts = list(split(request(1), 1))

    assert len(parts) == 9
    assert points(*parts) == points(request(1))
