# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint
from opentelemetry.semconv._incubating.attributes import (
    host_attributes,
    network_attributes,
    service_attributes,
)
from opentelemetry.semconv._incubating.metrics import system_metrics
from opentelemetry.semconv.schemas import Schemas

from sidecar.errors import SourceError
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, Series, Temporality
from sidecar.otlp import message
from sidecar.otlp.encode import encode
from sidecar.otlp.message import SCHEMA_URL
from sidecar.schema import Instrument, Schema
from sidecar.u64 import U64, added, signed
from tests.packet_counter import SCHEMA
from tests.packet_counter import SUMS as NAMES

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
RESOURCE = (("host.name", "node-1"), ("service.name", "xdp-packet-counter"))
SECOND = 10**9
SERIES_START, START, END = 1000 * SECOND, 1010 * SECOND, 1030 * SECOND
# In the layout's order: total, bytes, icmp, tcp, udp, other, ipv4, ipv6.
COUNTS = (110, 20_000, 5, 70, 30, 5, 100, 8)
TOTALS = tuple(10 * count for count in COUNTS)

# Name, unit and value of the eight sums (design: "The packet-counter profile").
SUMS = {
    "xdp.packets.total": ("{packet}", 110),
    "xdp.bytes.total": ("By", 20_000),
    "xdp.packets.icmp": ("{packet}", 5),
    "xdp.packets.tcp": ("{packet}", 70),
    "xdp.packets.udp": ("{packet}", 30),
    "xdp.packets.other": ("{packet}", 5),
    "xdp.packets.ipv4": ("{packet}", 100),
    "xdp.packets.ipv6": ("{packet}", 8),
}


def series(
    counts=COUNTS, totals=TOTALS, attributes=(("network.interface.name", "eth0"),), start=START, is_new=False
):
    return Series(attributes, SERIES_START, is_new, start, END, counts, totals, elapsed_ns=20 * SECOND)


def decoded(*many, temporality=Temporality.DELTA):
    """The one request, as its receiver decodes it."""
    (body,) = encode(RESOURCE, temporality, [(SCHEMA, many)])
    return ExportMetricsServiceRequest.FromString(body)


def metrics(request):
    ((scope,),) = [resource.scope_metrics for resource in request.resource_metrics]
    return {metric.name: metric for metric in scope.metrics}


def attributes(holder):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder.attributes}


def test_the_metrics_are_those_of_the_profile():
    """Nine, no more: eight delta sums with name, unit and value, and the rate."""
    found = metrics(decoded(series()))

    assert list(found) == [*SUMS, "xdp.packets.rate"]
    for name, (unit, value) in SUMS.items():
        metric = found[name]
        (point,) = metric.sum.data_points
        assert (metric.unit, point.as_int, point.WhichOneof("value")) == (unit, value, "as_int")
        assert metric.description
        assert metric.sum.is_monotonic
        assert metric.sum.aggregation_temporality == DELTA
        assert (point.start_time_unix_nano, point.time_unix_nano) == (START, END)
        assert attributes(point) == {"network.interface.name": "eth0"}


def test_the_rate_is_a_gauge_over_the_window():
    """110 packets in 20 seconds."""
    metric = metrics(decoded(series()))["xdp.packets.rate"]
    (point,) = metric.gauge.data_points

    assert (metric.unit, point.as_double, point.time_unix_nano) == ("{packet}/s", 5.5, END)
    assert attributes(point) == {"network.interface.name": "eth0"}


def test_resource_and_scope_identify_the_sender():
    """
    The resource has the given attributes, and the schema that they follow.

    The scope has neither that nor the sidecar's version, which would begin new series with each of them.
    """
    (resource,) = decoded(series()).resource_metrics
    (scope,) = resource.scope_metrics

    assert attributes(resource.resource) == dict(RESOURCE)
    assert resource.schema_url == SCHEMA_URL
    assert (scope.scope.name, scope.scope.version, scope.schema_url) == ("xdp-otel", "0.1.0", "")


def test_the_schema_has_the_names_that_are_not_ours():
    """SCHEMA_URL is a published version of the semantic conventions, which defines the names used here."""
    assert SCHEMA_URL in {schema.value for schema in Schemas}
    modules = host_attributes, network_attributes, service_attributes, system_metrics
    defined = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    assert defined >= {
        "service.name",
        "service.version",
        "service.instance.id",
        "host.name",
        "network.interface.name",
        "network.io.direction",
        "network.transport",
        "network.type",
        "system.network.packet.count",
        "system.network.io",
    }


def test_each_series_has_a_point_in_each_metric():
    """Two interfaces are two points of one metric, not two metrics."""
    eth1 = series(counts=(1,) * 8, attributes=(("network.interface.name", "eth1"),))

    for metric in metrics(decoded(series(), eth1)).values():
        points = metric.sum.data_points or metric.gauge.data_points
        assert [attributes(point)["network.interface.name"] for point in points] == ["eth0", "eth1"]


def test_an_integer_attribute_stays_an_integer():
    """The type of an attribute is part of the identity of a series."""
    (point,) = metrics(decoded(series(attributes=(("port", 53), ("name", "dns")))))[
        "xdp.bytes.total"
    ].sum.data_points

    assert attributes(point) == {"port": 53, "name": "dns"}


def test_cumulative_points_hold_everything_since_the_start():
    """One point, from the start of the series."""
    for metric in list(metrics(decoded(series(), temporality=Temporality.CUMULATIVE)).values())[:-1]:
        (point,) = metric.sum.data_points
        assert metric.sum.aggregation_temporality == CUMULATIVE
        assert metric.sum.is_monotonic
        assert (point.start_time_unix_nano, point.time_unix_nano) == (SERIES_START, END)
        assert point.as_int == 10 * SUMS[metric.name][1]


def test_a_base_point_goes_before_the_delta():
    """It starts with the series, ends before the delta starts, and has the counts before the delta."""
    for metric in list(metrics(decoded(series(), temporality=Temporality.DELTA_WITH_BASE)).values())[:-1]:
        base, delta = metric.sum.data_points
        value = SUMS[metric.name][1]
        assert metric.sum.aggregation_temporality == DELTA
        assert base.start_time_unix_nano == SERIES_START
        assert base.time_unix_nano == SERIES_START + 1
        assert (delta.start_time_unix_nano, delta.time_unix_nano) == (START, END)
        assert (base.as_int, delta.as_int) == (9 * value, value)


def test_the_first_window_of_a_series_has_no_base():
    """Nothing was counted before it."""
    first = series(totals=COUNTS, start=SERIES_START, is_new=True)

    for metric in list(metrics(decoded(first, temporality=Temporality.DELTA_WITH_BASE)).values())[:-1]:
        (point,) = metric.sum.data_points
        assert (point.start_time_unix_nano, point.as_int) == (SERIES_START, SUMS[metric.name][1])


@given(st.lists(st.integers(0, 2**63 - 1), min_size=8, max_size=8).map(tuple))
def test_any_count_that_otlp_can_carry_arrives_exactly(counts):
    """Past 2^53, the limit of floats, up to 2^63-1."""
    found = metrics(decoded(series(counts=counts, totals=counts, start=SERIES_START)))
    by_name = dict(zip(NAMES.values(), counts, strict=True))

    assert {name: found[name].sum.data_points[0].as_int for name in by_name} == by_name


@pytest.mark.parametrize("temporality", Temporality)
@pytest.mark.parametrize(("at", "name"), [(0, "total_packets"), (1, "total_bytes"), (7, "ipv6_packets")])
def test_a_count_that_otlp_cannot_carry_is_refused_by_name(temporality, at, name):
    """`as_int` is signed: from 2^63 on it would be read as negative."""
    counts = tuple(2**63 if field == at else 1 for field in range(8))
    with pytest.raises(SourceError, match=rf"^cannot encode field {name}: .*{2**63}.*: .*updowncounter$"):
        encode(RESOURCE, temporality, [(SCHEMA, [series(counts=counts, totals=counts)])])


def test_a_total_that_otlp_cannot_carry_does_not_affect_deltas():
    """Only what is sent has to fit."""
    huge = tuple(2**64 + count for count in COUNTS)

    assert metrics(decoded(series(totals=huge)))["xdp.packets.tcp"].sum.data_points[0].as_int == 70


def test_the_same_series_are_the_same_bytes():
    """Nothing in a request depends on when it is encoded."""
    again = [
        encode(RESOURCE, Temporality.DELTA, [(SCHEMA, [series(), series(start=SERIES_START)])])
        for _ in range(3)
    ]

    assert len(set(again)) == 1


FLOWS = Schema(
    "flows",
    Layout(16, (Field("packets", 0), Field("change", 64, signed=True))),
    (
        Instrument("packets", "{packet}", "", "packets"),
        Instrument("packets", "{packet}", "", "packets", attributes=(("again", True),)),
        Instrument("change", "", "", "change", Kind.UPDOWNCOUNTER),
        Instrument("held", "", "Held.", "change", Kind.GAUGE),
        Instrument("held", "", "Held.", "packets", Kind.GAUGE),
        Instrument("speed", "", "", "change", Kind.RATE),
    ),
    lambda _: (),
)
encodable = st.integers(0, 2**62)
cells = st.tuples(encodable, st.integers(0, 2**64 - 1))


@st.composite
def flows(draw):
    """Some series, few enough that the same ones recur."""
    labels = draw(st.lists(st.sampled_from([True, 1, 0, "é" * 70]), max_size=2, unique_by=repr))
    start = draw(st.sampled_from([0, 1, START, 2**63]))
    counts, before = draw(cells), draw(cells)
    return [
        Series(
            (("label", label),),
            draw(st.sampled_from([0, 1, SERIES_START])),
            draw(st.sampled_from([0, 1, SERIES_START, START])),
            start,
            start + draw(st.integers(1, 2**40)),
            counts,
            added(counts, before),
            draw(cells),
            draw(st.integers(0, 2**40)),
        )
        for label in labels
    ]


def expected_request(temporality, chunk):
    """The request as the generated classes make it, field by field."""
    found = {}
    for schema, one in chunk:
        for at, instrument in schema.positions:
            metric = found.setdefault(instrument.metric, empty_metric(instrument, temporality))
            labels = message.key_values((*one.attributes, *instrument.attributes))
            if instrument.kind.is_sum:
                metric.sum.data_points.extend(sum_points(instrument, at, one, temporality, labels))
                continue
            value = instrument.kind.value(one, at, schema.layout.fields[at])
            metric.gauge.data_points.add(
                attributes=labels,
                time_unix_nano=one.end_ns,
                **({"as_int": value} if isinstance(value, int) else {"as_double": value}),
            )
    return message.encode_metrics(RESOURCE, found.values())


def empty_metric(instrument, temporality):
    metric = Metric(name=instrument.name, unit=instrument.unit, description=instrument.description)
    if instrument.kind.is_sum:
        metric.sum.is_monotonic = instrument.kind is Kind.COUNTER
        metric.sum.aggregation_temporality = CUMULATIVE if temporality is Temporality.CUMULATIVE else DELTA
    return metric


def sum_points(instrument, at, one, temporality, labels):
    windows = [(one.start_ns, one.end_ns, one.counts[at])]
    if temporality is Temporality.CUMULATIVE:
        windows = [(one.start_time_ns, one.end_ns, one.totals[at])]
    elif temporality is Temporality.DELTA_WITH_BASE and not one.is_new:
        before = (one.totals[at] - one.counts[at]) & U64
        windows.insert(0, (one.start_time_ns, one.start_time_ns + 1, before))
    for start_ns, end_ns, count in windows:
        value = signed(count) if instrument.kind is Kind.UPDOWNCOUNTER else count
        yield NumberDataPoint(
            attributes=labels, start_time_unix_nano=start_ns, time_unix_nano=end_ns, as_int=value
        )


@given(st.lists(flows(), min_size=1, max_size=6), st.sampled_from(Temporality))
def test_requests_are_byte_for_byte_those_of_the_generated_classes(batches, temporality):
    """Series, times, numbers, base points; the request before leaves no trace."""
    for many in [one for batch in batches for one in [batch] * 3]:
        sources = [(FLOWS, many), (SCHEMA, [series()])]
        chunk = [(schema, one) for schema, several in sources for one in several]

        assert encode(RESOURCE, temporality, sources) == (expected_request(temporality, chunk),)


def test_a_request_stays_below_the_limit_of_a_server():
    """gRPC servers accept 4 MiB: many series with long attributes take several requests."""
    many = [series(attributes=(("at", at), ("name", "x" * 20 * (at % 200)))) for at in range(600)]
    bodies = encode(RESOURCE, Temporality.DELTA_WITH_BASE, [(SCHEMA, many)])
    seen = {}
    for number, body in enumerate(bodies):
        assert len(body) <= 4 * 1024 * 1024
        for name, metric in metrics(ExportMetricsServiceRequest.FromString(body)).items():
            for point in (*metric.sum.data_points, *metric.gauge.data_points):
                seen.setdefault(attributes(point)["at"], []).append((number, name))

    assert sorted(seen) == list(range(600))
    assert all(len(points) == 2 * 8 + 1 for points in seen.values())
    assert all(len({number for number, _ in points}) == 1 for points in seen.values())


def test_an_idle_series_has_points_but_no_series_is_no_request():
    """An idle interface is a zero; without an interface there is nothing to send."""
    assert metrics(decoded(series(counts=(0,) * 8)))["xdp.packets.total"].sum.data_points[0].as_int == 0
    assert encode(RESOURCE, Temporality.DELTA, [(SCHEMA, [])]) == ()
