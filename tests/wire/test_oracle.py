# SPDX-License-Identifier: Apache-2.0
"""The SDK's exporter as the reference for the standard variables; deviations are deliberate."""

import contextlib
import os
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sidecar import __version__
from sidecar.kinds import Kind
from sidecar.model import Series, Temporality
from sidecar.otlp.encode import encode
from sidecar.otlp.endpoint import endpoint_from
from sidecar.otlp.message import SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION
from sidecar.otlp.outcome import Delivered
from sidecar.otlp.resource import resource_attributes
from sidecar.otlp_push import Pusher
from tests.packet_counter import SCHEMA

SECOND = 10**9


@pytest.fixture
def exporter(monkeypatch):
    """Return a function that sets variables and makes the SDK's exporter under them."""
    with contextlib.ExitStack() as stack:

        def make(environ):
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            made = OTLPMetricExporter()
            stack.callback(made.shutdown)
            return made

        yield make


ENDPOINTS = [
    {},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317/"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "HTTPS://collector:4317"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[2001:db8::1]:4317"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:4317"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://b:2"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://b:2"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ""},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317", "OTEL_EXPORTER_OTLP_INSECURE": "true"},
    # Bare addresses, where INSECURE decides.
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_INSECURE": "true"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_INSECURE": "false"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
    {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_EXPORTER_OTLP_METRICS_INSECURE": "false",
    },
    {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
        "OTEL_EXPORTER_OTLP_INSECURE": "false",
        "OTEL_EXPORTER_OTLP_METRICS_INSECURE": "TRUE",
    },
]


@pytest.mark.parametrize("environ", ENDPOINTS)
def test_the_same_variables_give_the_same_endpoint(exporter, environ):
    """Target and use of TLS."""
    theirs, ours = exporter(environ), endpoint_from(environ)

    assert (ours.target, ours.secure) == (theirs._endpoint.removeprefix("http://"), not theirs._insecure)


@pytest.mark.parametrize(
    ("environ", "ours_secure"),
    [
        # For loopback, plaintext is the default, as in the documented default localhost:4317.
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, False),
        # The scheme takes precedence over INSECURE, as the specification says.
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_INSECURE": "false"},
            False,
        ),
    ],
)
def test_deviations_about_tls_are_deliberate(exporter, environ, ours_secure):
    """This list shrinks when the SDK follows the specification."""
    theirs, ours = exporter(environ), endpoint_from(environ)

    assert ours.secure == ours_secure
    assert theirs._insecure == ours_secure


def test_the_timeout_differs_in_its_unit(exporter):
    """Milliseconds, as the specification says; the SDK reads seconds."""
    environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2000", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "3000"}

    assert exporter(environ)._timeout == 3000
    assert endpoint_from(environ).timeout_s == 3


@pytest.mark.parametrize(
    ("environ", "gzip"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip"}, True),
    ],
)
def test_the_same_variables_give_the_same_compression(exporter, environ, gzip):
    """None or gzip."""
    theirs = exporter(environ)._compression

    assert (theirs.name == "Gzip") == endpoint_from(environ).gzip == gzip


def point(attributes, start_ns, end_ns, count):
    return NumberDataPoint(attributes, start_ns, end_ns, count)


def export_of(resource, metrics):
    """The data that the SDK would pass to its exporter."""
    scope = ScopeMetrics(InstrumentationScope(SCOPE_NAME, SCOPE_VERSION), metrics, "")
    return MetricsData([ResourceMetrics(Resource(resource, SCHEMA_URL), [scope], SCHEMA_URL)])


def delta(count):
    return Sum([point({}, SECOND, 2 * SECOND, count)], AggregationTemporality.DELTA, is_monotonic=True)


@pytest.mark.parametrize(
    "headers",
    [
        "authorization=Bearer%20abc",
        "Authorization=Basic%20dXNlcjpwYXNz%3D,X-Tenant=blue",
        "authorization=Bearer abc",
        " a = 1 ,b=2",
        "token=a=b==",
        "x-empty=",
        "x%2Dkey=v",
    ],
)
@pytest.mark.parametrize("prefix", ["OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_METRICS_"])
def test_the_server_receives_the_same_headers(collector, exporter, prefix, headers):
    """From the SDK's exporter and from ours."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{collector.port}",
        f"{prefix}HEADERS": headers,
    }
    data = export_of({}, [Metric("m", "", "", delta(1))])
    assert exporter(environ).export(data) is MetricExportResult.SUCCESS
    with contextlib.closing(Pusher(endpoint_from(environ))) as pusher:
        assert pusher.push(b"") == Delivered()
    theirs, ours = ({**call.metadata, "user-agent": ""} for call in collector.calls)

    assert ours == theirs
    assert len(ours) > 1


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "edge"},
        {"OTEL_SERVICE_NAME": ""},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=from-attributes,team=net"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=from-attributes", "OTEL_SERVICE_NAME": "edge"},
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=demo,place=caf%C3%A9%20%2C%20south"},
        {"OTEL_RESOURCE_ATTRIBUTES": " key = value , other=a=b ,empty="},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=mine,host.name=node-7"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.version=2.0,port=80,canary=true"},
        {"OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=n1,k8s.pod.name=p-x,service.namespace=ns"},
    ],
)
def test_the_same_variables_give_the_same_resource(state_dir, monkeypatch, environ):
    """Except for the SDK's own attributes, and those we detect unless they are given."""
    state_dir.mkdir()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    theirs = dict(Resource.create().attributes)
    for name in [name for name in theirs if name.startswith("telemetry.sdk.")]:
        del theirs[name]
    ours = dict(resource_attributes(state_dir))
    given = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if "service.instance.id" not in given:
        theirs["service.instance.id"] = ours["service.instance.id"]
    if "service.version" not in given:
        theirs["service.version"] = __version__
    if "host.name" not in given:
        theirs["host.name"] = os.uname().nodename
    if theirs["service.name"].startswith("unknown_service"):
        theirs["service.name"] = "xdp-packet-counter"

    assert ours == theirs


def test_the_instance_id_is_stable(state_dir):
    """The same at every start, even if the file is lost, and different in another directory."""
    state_dir.mkdir()
    first = dict(resource_attributes(state_dir))["service.instance.id"]
    again = dict(resource_attributes(state_dir))["service.instance.id"]
    (state_dir / "instance-id").unlink()
    derived = dict(resource_attributes(state_dir))["service.instance.id"]
    elsewhere = state_dir / "elsewhere"
    elsewhere.mkdir()

    assert again == first
    assert dict(resource_attributes(elsewhere))["service.instance.id"] != first
    machine_id = Path("/etc/machine-id")
    assert (derived == first) == (machine_id.exists() and bool(machine_id.read_text().strip()))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Temporality.DELTA, AggregationTemporality.DELTA),
        (Temporality.CUMULATIVE, AggregationTemporality.CUMULATIVE),
    ],
)
def test_the_sdk_would_send_the_same_message(collector, exporter, ours, theirs):
    """Parsed, the sums of two interfaces equal the SDK's for the same numbers."""
    resource = {"service.name": "xdp-packet-counter", "host.name": "node-1"}
    birth, start, end = SECOND, 5 * SECOND, 9 * SECOND
    counts = {"eth0": (110, 2**60 + 1, 5, 70, 30, 5, 100, 8), "eth1": (0, 0, 0, 0, 0, 0, 0, 0)}
    series = [
        Series(
            (("network.interface.name", name),),
            birth,
            start,
            start,
            end,
            count,
            tuple(3 + more for more in count),
        )
        for name, count in counts.items()
    ]
    (body,) = encode(tuple(resource.items()), ours, [(SCHEMA, series)])

    def points(at):
        for entry in series:
            if ours is Temporality.DELTA:
                yield point(dict(entry.attributes), start, end, entry.counts[at])
            else:
                yield point(dict(entry.attributes), birth, end, entry.totals[at])

    sums = [
        Metric(
            declared.name,
            declared.description,
            declared.unit,
            Sum(list(points(at)), theirs, is_monotonic=True),
        )
        for at, declared in SCHEMA.positions
        if declared.kind is Kind.COUNTER
    ]
    sdk = exporter({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{collector.port}"})
    assert sdk.export(export_of(resource, sums)) is MetricExportResult.SUCCESS
    expected = ExportMetricsServiceRequest.FromString(collector.bodies[0])
    found = ExportMetricsServiceRequest.FromString(body)
    rate = found.resource_metrics[0].scope_metrics[0].metrics.pop()

    assert rate.name == "xdp.packets.rate"
    assert found == expected
