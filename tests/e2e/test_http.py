# SPDX-License-Identifier: Apache-2.0
"""The sidecar's own OTLP/HTTP: to Prometheus without a Collector, and to a Collector with base points."""

import time

from demo.ports import Ports
from demo.prometheus import query
from scale import services
from tests.e2e.answers import total_packets
from tests.waiting import answered, settled

HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TIMEOUT": "2000"}
CUMULATIVE = {**HTTP, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}


def test_prometheus_without_a_collector_is_exact(tmp_path, counter):
    """Into its OTLP receiver, while both are killed and restarted."""
    backend = Ports.free()
    url = f"http://127.0.0.1:{backend.prometheus}/api/v1/otlp"
    store = services.store(tmp_path, backend)
    sidecar = services.sidecar(tmp_path, counter.pin, url, settings=CUMULATIVE)
    with store, sidecar:
        for each, pause_s in ((store, 1.5), (sidecar, 0.5), (store, 0.5)):
            time.sleep(0.7)
            each.kill()
            time.sleep(pause_s)
            each.start()
        time.sleep(0.5)
        counter.hold()

        for name, field in (("xdp_packets_total", "total_packets"), ("xdp_bytes_total", "total_bytes")):
            truth = str(counter.truth[field])
            assert truth == settled(lambda name=name: query(backend, name), truth)


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
