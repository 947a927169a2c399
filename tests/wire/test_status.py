# SPDX-License-Identifier: Apache-2.0
import contextlib
import gzip
import http.client
import logging
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from sidecar.counts import delta
from sidecar.counts.columns import Table
from sidecar.errors import AddressError, ConfigError
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot
from sidecar.observe import http_connection
from sidecar.observe import server as status_server
from sidecar.observe.exposition import exposition
from sidecar.observe.server import StatusServer
from sidecar.observe.telemetry import Telemetry, resident_bytes
from sidecar.schema import Instrument, Schema
from tests.waiting import answered

# Its page is several times what the kernel buffers for a client that does not read.
LARGE = 30_000
FLOWS = Schema(
    "flows",
    Layout(16, (Field("packets", 0), Field("bytes", 64))),
    (Instrument("flow.packets", "", "", "packets"), Instrument("flow.bytes", "", "", "bytes")),
    lambda key: (("key", key.hex()),),
    series_limit=10**6,
)
IDENTITY = MapIdentity("boot", 41, 1, 4, 16, 10**6)


def flows(first=0, last=LARGE, packets=0):
    """The series of a large map, in columns."""
    keys = np.arange(first, last, dtype=np.uint32).tobytes()
    cells = np.arange(2 * (last - first), dtype=np.uint64) + np.uint64(packets)
    snapshot = Snapshot(IDENTITY, 1, 10**9, Reading(FLOWS.columns(1), Table(keys, 4, cells.tobytes())))
    return delta.advance(delta.baseline_from_zero(snapshot), [snapshot], FLOWS).series


@pytest.fixture(scope="module")
def large():
    return [(FLOWS, flows())]


@pytest.fixture
def telemetry():
    return Telemetry()


@pytest.fixture
def server(telemetry):
    with closing(StatusServer("127.0.0.1", 0, telemetry, patience_s=30)) as running:
        yield running


@pytest.fixture
def ask(server):
    """Connect and send some bytes; the connection is closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect(sent):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            client.sendall(sent)
            return client

        yield connect


def get(server, path):
    """Return status code and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def read(client):
    """Return everything up to the end of the connection."""
    return b"".join(iter(lambda: client.recv(1 << 16), b""))


UNREAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_metrics_are_served(server, telemetry):
    """The text format, with what was counted until now."""
    telemetry.batches["delivered"] += 3
    code, body = get(server, "/metrics")

    assert code == 200
    assert 'xdp_xdp_otel_batches{outcome="delivered"} 3\n' in body


def test_a_stalled_loop_is_not_healthy(server, telemetry):
    """Liveness means that the loop completed a cycle recently."""
    assert get(server, "/healthz") == (200, "ok\n")
    telemetry.progressed_at = time.monotonic() - 100
    code, body = get(server, "/healthz")

    assert (code, body) == (503, "no progress for 100 s\n")


def test_readiness_is_that_of_the_last_cycle(server, telemetry):
    """Before the first cycle, and while a map cannot be read, the sidecar is not ready."""
    assert get(server, "/readyz")[0] == 503
    telemetry.ready = True
    assert get(server, "/readyz?from=kubelet") == (200, "ok\n")


def test_any_other_path_lists_the_valid_ones(server):
    """The response to a wrong path helps."""
    assert get(server, "/") == (404, "/healthz, /readyz or /metrics\n")


@pytest.mark.parametrize(("host", "cause"), [("127.0.0.1", "EADDRINUSE"), ("192.0.2.1", "EADDRNOTAVAIL")])
def test_an_address_that_is_not_free_is_worth_another_try(server, host, cause):
    """So it is no error of the configuration, after which systemd would not start the service again."""
    with pytest.raises(
        AddressError, match=rf"cannot serve status on {host}:{server.port}: {cause} .*--status"
    ) as caught:
        StatusServer(host, server.port, Telemetry(), patience_s=1)

    assert caught.value.exit_code == 8
    units = Path(__file__).parents[2] / "deploy/systemd"
    for unit in (units / "xdp-otel.service", units / "quadlet/xdp-otel.container"):
        (final,) = re.findall("^RestartPreventExitStatus=(.*)$", unit.read_text(), re.MULTILINE)
        assert final.split() == [str(ConfigError.exit_code)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "é" * 70, "a..b"])
def test_an_invalid_address_is_one_clear_error(host):
    """Whatever the resolver, or Python before it, reports."""
    with pytest.raises(ConfigError, match="the name has no address: choose another with --status-address"):
        StatusServer(host, 0, Telemetry(), patience_s=1)


def test_an_ipv6_address_can_be_served():
    """On nodes that have no other."""
    server = StatusServer("::1", 0, Telemetry(), patience_s=30)
    url = f"http://[::1]:{server.port}/healthz"
    with closing(server), urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.read() == b"ok\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("path", [b"/healthz", b"/metrics"])
def test_for_an_http_1_0_client_the_close_marks_the_end(ask, path, line_end):
    """HTTP/1.0 has no chunks."""
    head, _, body = read(ask(b"GET %b HTTP/1.0" % path + 2 * line_end)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in head
    assert body.startswith(b"ok\n" if path == b"/healthz" else b"# HELP ")


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        (b"Accept-Encoding: gzip", True),
        (b"accept-encoding:deflate,  GZIP ; q=0.001", True),
        (b"Accept-Encoding: br\r\nAccept-Encoding: x-gzip;q=1.0", True),
        (b"Accept-Encoding: gzip;q=0, deflate", False),
        (b"Accept-Encoding: gzip;q=0.000", False),
        (b"Accept-Encoding: gzipped, identity", False),
        (b"X-Accept-Encoding: gzip", False),
        (b"Accept: text/plain", False),
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_page_is_compressed_if_the_client_takes_it(
    telemetry, server, ask, large, version, accepted, is_compressed
):
    """As Prometheus does by default: the same page, in gzip."""
    telemetry.sources = [(FLOWS, large[0][1].only(slice(3000)))]
    answer = http.client.HTTPResponse(
        ask(b"GET /metrics HTTP/%b\r\nHost: x\r\n%b\r\n\r\n" % (version, accepted))
    )
    answer.begin()
    body = answer.read()

    assert answer.getheader("Content-Encoding") == ("gzip" if is_compressed else None)
    assert answer.getheader("Vary") == "Accept-Encoding"
    page = gzip.decompress(body) if is_compressed else body
    assert page.decode().endswith(exposition((), telemetry.sources))
    assert len(body) < len(page) / 4 or not is_compressed


def test_only_pages_are_compressed(ask):
    """A probe's response is shorter without."""
    head, _, body = read(ask(b"GET /healthz HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n")).partition(
        b"\r\n\r\n"
    )

    assert (b"gzip" in head, body) == (False, b"ok\n")


@pytest.mark.parametrize("path", [b"/healthz", b"/metrics"])
def test_head_is_get_without_a_body(ask, path):
    """Some probes use it."""
    head, _, body = read(ask(b"HEAD %b HTTP/1.1\r\n\r\n" % path)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b""


def test_a_request_may_come_byte_by_byte(ask):
    """It is served all the same."""
    client = ask(b"")
    for byte in b"\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
        client.sendall(bytes([byte]))

    assert read(client).endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"hello\r\n", 400),
        (b"GET /healthz\r\n", 400),
        (b"GET  /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 400),
        (b"GET /h\xc3\xa9 HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xee\x01\x00\n", 400),
        (b"\0" * 100 + b"\n", 400),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, 405),
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"\0" * 100_000, 414),
        (b"GET /metrics HTTP/1.1\r\n" + b"X-Long: y\r\n" * 20_000, 431),
        (b"GET /healthz%00%0d%0a HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_an_invalid_request_is_refused(server, ask, caplog, capfd, said, code):
    """With a status code, and nothing in the log."""
    assert read(ask(said)).startswith(b"HTTP/1.1 %d " % code)
    assert get(server, "/healthz") == (200, "ok\n")
    assert (caplog.records, capfd.readouterr().err) == ([], "")


def test_a_connection_may_end_at_any_moment(server, telemetry, large, caplog, capfd):
    """Closed or reset before, during and after the request, and during the response."""
    telemetry.sources = large
    for said in (b"", b"GET", UNREAD, UNREAD + b"more"):
        for reset in (False, True):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(said)
            if said.startswith(UNREAD):
                client.recv(100_000)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

    assert get(server, "/healthz") == (200, "ok\n")
    assert (caplog.records, capfd.readouterr().err) == ([], "")


def test_a_client_that_sends_no_request_in_time_is_dropped(server, ask, monkeypatch):
    """Even if it sends a byte now and then."""
    monkeypatch.setattr(http_connection, "REQUEST_S", 0.5)
    silent, slow = ask(b""), ask(b"G")
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 5:
            slow.sendall(b"E")
            time.sleep(0.05)
    took = time.monotonic() - began

    assert 0.3 < took < 3
    assert silent.recv(1) == b""


def test_a_response_that_is_not_read_in_time_is_cut_off(server, telemetry, large, ask, monkeypatch):
    """By a reset in the middle of a chunk: no client can take a part for the whole."""
    monkeypatch.setattr(http_connection, "RESPONSE_S", 0.5)
    telemetry.sources = large
    old, new = ask(b"GET /metrics HTTP/1.0\r\n\r\n"), ask(UNREAD)
    time.sleep(1)
    with pytest.raises(ConnectionResetError):
        read(old)
    answer = http.client.HTTPResponse(new)
    answer.begin()
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        answer.read()

    assert get(server, "/healthz") == (200, "ok\n")


def test_a_client_that_does_not_close_is_dropped(server, ask, monkeypatch):
    """It has its response."""
    monkeypatch.setattr(http_connection, "CLOSE_S", 0.2)
    client = ask(b"GET /healthz HTTP/1.1\r\n\r\n")
    time.sleep(1)

    assert read(client).endswith(b"ok\n")
    assert not server._connections


def test_new_connections_are_served_at_the_limit(server, telemetry, large, ask):
    """However many hang before or during the response, and without more threads; the oldest are dropped."""
    telemetry.sources = large
    before = set(threading.enumerate())
    hanging = [ask(said) for said in (b"GET", UNREAD) for _ in range(3 * status_server.MAX_CONNECTIONS)]
    for path in ("/healthz", "/metrics") * 3:
        assert get(server, path)[0] == 200

    assert not set(threading.enumerate()) - before
    assert len(server._connections) <= status_server.MAX_CONNECTIONS
    with pytest.raises(ConnectionResetError):
        read(hanging[3 * status_server.MAX_CONNECTIONS])


def test_unread_scrapes_take_no_memory_and_no_time(server, telemetry, ask):
    """A page of 100,000 series is rendered as it is read; probes are served meanwhile."""
    telemetry.sources = [(FLOWS, flows(last=100_000))]
    get(server, "/healthz")
    before = resident_bytes()
    for _ in range(12):
        ask(UNREAD)
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert get(server, "/healthz") == (200, "ok\n")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.05)

    assert resident_bytes() - before < 24 << 20
    assert slowest < 2


@pytest.mark.parametrize(("is_computing", "most"), [(False, 0.4), (True, 0.12)])
def test_the_thread_sleeps_longer_than_it_works(server, telemetry, large, is_computing, most):
    """So the loop is not kept waiting, however many pages are requested, least of all in a cycle."""
    telemetry.sources = large
    telemetry.is_computing = is_computing
    url = f"http://127.0.0.1:{server.port}/metrics"
    greedy = f"import urllib.request\nwhile True: urllib.request.urlopen({url!r}).read()"
    scrapers = [subprocess.Popen([sys.executable, "-c", greedy], stderr=subprocess.DEVNULL) for _ in range(2)]
    clock = time.pthread_getcpuclockid(server._thread.ident)
    before, began = time.clock_gettime(clock), time.monotonic()
    worked = answered(lambda: max(0.0, time.clock_gettime(clock) - before - 0.1))
    share = (worked + 0.1) / (time.monotonic() - began)
    for scraper in scrapers:
        scraper.terminate()
        scraper.wait()

    assert share < most


def test_a_page_is_of_one_cycle(server, telemetry, large, ask):
    """What the loop writes meanwhile is for the next page."""
    telemetry.sources = large
    client = ask(b"GET /metrics HTTP/1.0\r\n\r\n")
    client.recv(1000)
    telemetry.sources = [(FLOWS, flows(packets=10**6))]

    assert read(client).decode().endswith(exposition((), large)[-100_000:])


def test_series_added_between_two_pages_are_on_the_second(server, telemetry):
    """Cached labels belong to the right series."""
    for first, last in ((0, 2000), (0, 2500), (1000, 3000), (0, 600)):
        series = flows(first, last)
        telemetry.sources = [(FLOWS, series)]

        assert get(server, "/metrics")[1].endswith(exposition((), [(FLOWS, [*series])]))


def test_close_does_not_wait_for_clients(telemetry, large):
    """So SIGTERM ends the sidecar at once."""
    telemetry.sources = large
    server = StatusServer("127.0.0.1", 0, telemetry, patience_s=30)
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
    for client, said in zip(clients, chain([b"", b"GET"], [UNREAD] * 10), strict=True):
        client.sendall(said)
    time.sleep(0.2)
    began = time.monotonic()
    server.close()
    took = time.monotonic() - began
    for client in clients:
        client.close()

    assert took < 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_a_page_that_cannot_be_rendered_does_not_end_the_server(server, telemetry, caplog):
    """The bug is logged, and the other paths are served."""
    caplog.set_level(logging.ERROR)
    telemetry.maps = lambda: 1 / 0
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        get(server, "/metrics")

    assert get(server, "/healthz") == (200, "ok\n")
    assert "a response could not be rendered" in caplog.text


def test_an_unready_sidecar_names_each_source_and_the_cause(server, telemetry):
    """One line for each."""
    assert get(server, "/readyz") == (503, "no cycle has completed yet\n")
    telemetry.completed({"pin:/a": "stale: the map was replaced", "journal": "disk full"})
    assert get(server, "/readyz") == (503, "pin:/a: stale: the map was replaced\njournal: disk full\n")
    telemetry.completed({})
    assert get(server, "/readyz") == (200, "ok\n")


def test_the_staleness_of_each_source_is_a_metric(server, telemetry):
    """From the start, at 0."""
    telemetry.stale = {"pin:/a": True, "id:7": False}
    page = get(server, "/metrics")[1]

    assert 'xdp_xdp_otel_source_stale{source="pin:/a"} 1\n' in page
    assert 'xdp_xdp_otel_source_stale{source="id:7"} 0\n' in page
