# SPDX-License-Identifier: Apache-2.0
import time
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from sidecar.errors import ConfigError
from sidecar.status import StatusServer
from sidecar.telemetry import Telemetry


@pytest.fixture
def telemetry():
    return Telemetry()


@pytest.fixture
def server(telemetry):
    with closing(StatusServer("127.0.0.1", 0, telemetry, patience_s=30)) as running:
        yield running


def get(server, path):
    """Return status code and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_served(server, telemetry):
    """The text format, with what was counted until now."""
    telemetry.batches["delivered"] += 3
    code, body = get(server, "/metrics")

    assert code == 200
    assert 'xdp_otel_batches_total{outcome="delivered"} 3\n' in body


def test_a_loop_that_stands_still_is_not_healthy(server, telemetry):
    """Liveness is that the loop turned recently."""
    assert get(server, "/healthz") == (200, "ok\n")
    telemetry.turned_at = time.monotonic() - 100
    code, body = get(server, "/healthz")

    assert (code, body) == (503, "no cycle for 100 s\n")


def test_ready_is_what_the_last_cycle_could_do(server, telemetry):
    """Before the first cycle, and while a map cannot be read, the sidecar is not ready."""
    assert get(server, "/readyz")[0] == 503
    telemetry.ready = True
    assert get(server, "/readyz") == (200, "ok\n")


def test_any_other_path_says_which_there_are(server):
    """A wrong path helps."""
    assert get(server, "/") == (404, "/healthz, /readyz or /metrics\n")


def test_an_address_that_is_taken_is_one_clear_line(server):
    """The error names the address and the flag."""
    with pytest.raises(ConfigError, match=rf"serve status on 127.0.0.1:{server.port}: EADDRINUSE .*--status"):
        StatusServer("127.0.0.1", server.port, Telemetry(), patience_s=1)


def test_an_ipv6_address_can_be_served():
    """On nodes that have no other."""
    server = StatusServer("::1", 0, Telemetry(), patience_s=30)
    url = f"http://[::1]:{server.port}/healthz"
    with closing(server), urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.read() == b"ok\n"
