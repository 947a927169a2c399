# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's own OTLP/HTTP: to a Collector with base points, and what is sent.

To Prometheus without a Collector, exactly: `no-collector` of tests/chaos.
"""

import contextlib
import time

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from demo.ports import Ports
from scale import services
from tests.e2e.answers import total_packets
from tests.waiting import answered, settled
from tests.wire.test_http import Receiver

HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TIMEOUT": "2000"}
CUMULATIVE = {**HTTP, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}


def test_a_collector_is_exact_over_http(tmp_path, counter):
    """Compressed deltas with base points, while the Collector and the sidecar are killed and restarted."""
    ports = Ports.free()
    http = f"{{endpoint: '127.0.0.1:{ports.prometheus}'}}"
    collector = services.collector(
        "collector",
        tmp_path,
        ports,
        ["config.yaml"],
        {},
        overrides=[f"receivers::otlp::protocols::http: {http}"],
    )
    settings = {**HTTP, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    url = f"http://127.0.0.1:{ports.prometheus}"
    sidecar = services.sidecar(tmp_path, counter.pin, url, "--base-point", settings=settings)
    with collector, sidecar:
        for each in (collector, sidecar, collector):
            time.sleep(0.7)
            each.kill()
            time.sleep(0.5)
            each.start()
        counter.hold()

        truth = counter.truth["total_packets"]
        assert truth == settled(lambda: total_packets(ports), truth)


def test_an_address_that_is_no_receiver_is_explained(tmp_path, counter):
    """Prometheus without its OTLP receiver answers 404."""
    backend = Ports.free()
    sidecar = services.sidecar(
        tmp_path, counter.pin, f"http://127.0.0.1:{backend.prometheus}", settings=CUMULATIVE
    )
    with services.store(tmp_path, backend), sidecar:
        explained = (
            "no OTLP metrics are accepted there (HTTP 404: 404 page not found): name its OTLP/HTTP address"
        )
        answered(lambda: explained in sidecar.log.read_text())


def test_what_describes_the_sender_is_sent_with_its_type(tmp_path, counter):
    """The resource is text, as its variables are; a source's attributes are what the configuration says."""
    configuration = tmp_path / "sources.yaml"
    attributes = '{rack: 7, canary: true, slot: "7"}'
    configuration.write_text(f"sources: [{{pin: {counter.pin}, attributes: {attributes}}}]")
    settings = {**HTTP, "OTEL_RESOURCE_ATTRIBUTES": "port=80,drained=true"}
    with contextlib.closing(Receiver()) as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        sidecar = services.sidecar(tmp_path, counter.pin, url, "--self-metrics", settings=settings)
        at = sidecar.command.index("--map-path")
        sidecar.command = [*sidecar.command[:at], "--config", str(configuration), *sidecar.command[at + 2 :]]
        with sidecar:
            answered(lambda: len(receiver.bodies) >= 2)

    counts, own = (ExportMetricsServiceRequest.FromString(body) for body in receiver.bodies[:2])
    for request in (counts, own):
        (whole,) = request.resource_metrics
        (scope,) = whole.scope_metrics
        resource = {pair.key: pair.value.WhichOneof("value") for pair in whole.resource.attributes}
        assert set(resource) >= {"port", "drained", "service.version", "service.instance.id", "host.name"}
        assert set(resource.values()) == {"string_value"}
        assert whole.schema_url.startswith("https://opentelemetry.io/schemas/1.")
        assert (scope.scope.name, scope.scope.version) == ("xdp-otel", "0.1.0")
    point = counts.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
    types = {pair.key: pair.value.WhichOneof("value") for pair in point.attributes}
    assert types == {"rack": "int_value", "canary": "bool_value", "slot": "string_value"}
    assert {metric.name.split(".")[1] for metric in own.resource_metrics[0].scope_metrics[0].metrics} == {
        "otel"
    }
