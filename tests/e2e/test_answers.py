# SPDX-License-Identifier: Apache-2.0
"""A real Collector that refuses after counting, or that is one of two: nothing is counted twice."""

import contextlib
import time

import pytest

from chaos.backend import Backend
from chaos.proxy import Proxy
from demo.ports import Ports
from scale import services
from tests.e2e.answers import lasting, shown
from tests.waiting import answered


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 503])
def test_a_second_exporter_that_refuses_does_not_double_the_count(tmp_path, counter, status):
    """The Collector returns its refusal after the first exporter has counted, so the points are resent."""
    ports = Ports.free()
    with contextlib.closing(Backend(status)) as backend:
        collector = services.collector(
            "it", tmp_path, ports, ["config.yaml"], {}, overrides=backend.overrides
        )
        sidecar = services.sidecar(tmp_path, counter.pin, f"127.0.0.1:{ports.otlp}", "--base-point")
        with collector, sidecar:
            answered(lambda: backend.requests >= 4)
            backend.status = 200
            before = backend.requests
            answered(lambda: backend.requests >= before + 3)
            counter.hold()

            assert counter.truth == lasting(lambda: shown(ports, tmp_path / "state"), counter.truth)


@pytest.fixture
def two(tmp_path, counter):
    """Two running Collectors, one address that leads to the first, and a sidecar that exports to it."""
    ports = {name: Ports.free() for name in ("first", "second")}
    with contextlib.ExitStack() as stack:
        for name, its in ports.items():
            stack.enter_context(services.collector(name, tmp_path, its, ["config.yaml"], {}))
        proxy = stack.enter_context(contextlib.closing(Proxy(ports["first"].otlp)))
        endpoint = f"127.0.0.1:{proxy.port}"
        stack.enter_context(services.sidecar(tmp_path, counter.pin, endpoint, "--base-point"))

        def lead_to(name):
            proxy.target = ports[name].otlp
            packets = packets_at(name)
            answered(lambda: packets_at(name) > packets)

        def packets_at(name):
            return shown_at(name)["total_packets"]

        def shown_at(name):
            return shown(ports[name], tmp_path / "state")

        answered(lambda: packets_at("first"))
        yield lead_to, shown_at


def test_a_collector_that_takes_over_shows_the_full_count(two, counter):
    """A Collector that does not know the series receives everything counted before."""
    lead_to, shown_at = two
    lead_to("second")
    counter.hold()

    assert counter.truth == lasting(lambda: shown_at("second"), counter.truth)


def test_neither_collector_overcounts_after_failing_over_and_back(two, counter):
    """The first lacks what the second counted; neither counts anything twice."""
    lead_to, shown_at = two
    for _ in range(2):
        lead_to("second")
        lead_to("first")
    counter.hold()
    time.sleep(2)  # several cycles, so that everything has arrived

    for name in ("first", "second"):
        counts = shown_at(name)
        assert all(counts[field] <= counter.truth[field] for field in counts), (name, counts, counter.truth)
