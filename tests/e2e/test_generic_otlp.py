# SPDX-License-Identifier: Apache-2.0
"""Other backends by OTLP over HTTP: one takes cumulative sums, one takes deltas and an API key."""

import time

import pytest

from demo.ports import Ports
from demo.prometheus import query
from scale import services
from tests.e2e.answers import total_packets
from tests.waiting import answered, settled

QUICK = ("exporters::otlp_http::retry_on_failure::max_interval: 1s", "exporters::otlp_http::timeout: 2s")
CUMULATIVE = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}


def test_cumulative_sums_are_exact(tmp_path, counter):
    """Into Prometheus' own OTLP receiver, while Collector and backend are killed and restarted."""
    backend, ports = Ports.free(), Ports.free()
    url = f"http://127.0.0.1:{backend.prometheus}/api/v1/otlp"
    store = services.store(tmp_path, backend)
    generic = services.collector(
        "generic", tmp_path, ports, ["generic-otlp.yaml"], {"OTLP_ENDPOINT": url}, overrides=QUICK
    )
    sidecar = services.sidecar(tmp_path, counter.pin, f"127.0.0.1:{ports.otlp}", settings=CUMULATIVE)
    with store, generic, sidecar:
        time.sleep(1)
        generic.kill()
        time.sleep(1)
        generic.start()
        store.kill()
        time.sleep(2)
        store.start()
        time.sleep(1)
        counter.hold()

        for name, field in (("xdp_packets_total", "total_packets"), ("xdp_bytes_total", "total_bytes")):
            truth = str(counter.truth[field])
            assert truth == settled(lambda name=name: query(backend, name), truth)


@pytest.fixture
def delta_backend(tmp_path):
    """A Collector in place of a backend that takes deltas by HTTP with an API key."""
    tokens = tmp_path / "tokens"
    tokens.write_text("key-of-ours\n")
    ports = Ports.free()
    http = f"{{endpoint: '127.0.0.1:{ports.prometheus}', auth: {{authenticator: bearertokenauth}}}}"
    with services.collector(
        "backend",
        tmp_path,
        ports,
        ["config.yaml", "token.yaml"],
        {"COLLECTOR_TOKEN_FILE": str(tokens)},
        overrides=[f"receivers::otlp::protocols::http: {http}"],
    ):
        yield ports


def test_deltas_are_exact(tmp_path, counter, delta_backend):
    """Plain deltas, with the API key in a header, add up to the truth across a kill of the Collector."""
    ports = Ports.free()
    url = f"http://127.0.0.1:{delta_backend.prometheus}"
    settings = {"OTLP_ENDPOINT": url, "OTLP_HEADERS": "{Authorization: Bearer key-of-ours}"}
    generic = services.collector("generic", tmp_path, ports, ["generic-otlp.yaml"], settings, overrides=QUICK)
    with generic, services.sidecar(tmp_path, counter.pin, f"127.0.0.1:{ports.otlp}"):
        time.sleep(1)
        generic.kill()
        time.sleep(1)
        generic.start()
        time.sleep(1)
        counter.hold()

        truth = counter.truth["total_packets"]
        assert truth == settled(lambda: total_packets(delta_backend), truth)


def test_a_wrong_key_is_logged(tmp_path, counter, delta_backend):
    """The Collector logs the backend's refusal, without the key."""
    ports = Ports.free()
    url = f"http://127.0.0.1:{delta_backend.prometheus}"
    settings = {"OTLP_ENDPOINT": url, "OTLP_HEADERS": "{Authorization: Bearer nonsense}"}
    generic = services.collector("generic", tmp_path, ports, ["generic-otlp.yaml"], settings)
    with generic, services.sidecar(tmp_path, counter.pin, f"127.0.0.1:{ports.otlp}"):
        answered(lambda: "HTTP Status Code 401" in generic.log.read_text())
        log = generic.log.read_text()

    assert "nonsense" not in log
    assert not total_packets(delta_backend)
