# SPDX-License-Identifier: Apache-2.0
"""`/metrics` with 100,000 keys of four counters: what a page costs, and whether it holds up the loop."""

import http.client
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.keys import Map, Turns, made, schema
from bench.measure import process_cpu_s, timed
from bench.receiver import Receiver
from bench.sidecar_process import Sidecar, configured, running
from bench.table import Goal, Row, Samples, row
from sidecar.counts import delta
from sidecar.observe.server import StatusServer
from sidecar.observe.telemetry import Telemetry

_KEYS, _WORDS = 100_000, 4
_NAME = f"/metrics of {_KEYS:,} keys of {_WORDS} u64"
_PAGES = 7
_CLIENTS = 2
_TURNS = 10
# No cycle falls into the measurement of a page.
_SELDOM_S = 600.0


def rows() -> Iterator[Row]:
    """Yield CPU time and memory of pages, and how far they hold up the loop."""
    with made(_KEYS, _WORDS) as held:
        with _serving(held) as (sidecar, port):
            yield from _pages(sidecar, port)
        yield from _cycles(held)


@contextmanager
def _serving(held: Map) -> Iterator[tuple[Sidecar, int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Receiver() as receiver, configured(held) as options:
        status = ("--status-address", f"127.0.0.1:{port}")
        with running(receiver, (*options, *status), _SELDOM_S) as sidecar:
            yield sidecar, port


def _pages(sidecar: Sidecar, port: int) -> Iterator[Row]:
    before, peak = sidecar.rss_mib(), sidecar.peak_mib()
    taken: dict[bool, list[float]] = {False: [], True: []}
    numbers, compressed = [], []
    for _ in range(_PAGES):
        for gzip, values in taken.items():
            begun = process_cpu_s(sidecar.pid)
            page = _page(port, gzip=gzip)
            values.append(process_cpu_s(sidecar.pid) - begun)
        page = _page(port)
        if page.count(b"\nxdp_") < _KEYS * _WORDS:
            raise RuntimeError(f"the page does not have all series: {page[-200:]!r}")
        lines = page.count(b"\n")
        numbers.append(timed(lambda: (b"%d\n" * lines) % tuple(range(lines))))  # noqa: B023
        compressed.append(timed(lambda: zlib.compress(page, 1)))  # noqa: B023
    plain, gzipped = (Samples(values).per(1e-3) for values in taken.values())
    goal = Goal("value", 300)
    yield row(_NAME, plain, "ms", "as many numbers as text", Samples(numbers).per(1e-3), goal)
    against = "compressing it, at level 1"
    yield row(f"{_NAME}, in gzip", gzipped, "ms", against, Samples(compressed).per(1e-3), goal)
    after = Samples([sidecar.rss_mib()])
    yield row(f"{_NAME}: memory after {3 * _PAGES} pages", after, "MiB", "before the first", before)
    yield row(f"{_NAME}: memory at its peak", Samples([sidecar.peak_mib()]), "MiB", "before the first", peak)


def _cycles(held: Map) -> Iterator[Row]:
    """Yield how long the loop's computations take, by the wall, beside a thread that renders pages."""
    meaning, telemetry = schema(_WORDS), Telemetry()
    turns = Turns(held.fd, held.info, meaning)
    snapshot = turns.read()
    window = delta.advance(delta.baseline_from_zero(snapshot), [snapshot], meaning)
    telemetry.sources = [(meaning, window.series)]
    with closing(StatusServer("127.0.0.1", 0, telemetry, patience_s=_SELDOM_S)) as server:
        alone = _computed(held, turns, telemetry)
        with _clients(server.port):
            beside = _computed(held, turns, telemetry)
    what, against = "read + sum + delta + encode while two clients request page after page", "without them"
    yield row(f"{_NAME}: {what}", beside, "ms wall", against, alone, Goal("ratio", 1.25))
    longest = Samples([max(beside.values)])
    yield row(f"{_NAME}: {what}, the longest", longest, "ms wall", against, max(alone.values))


def _computed(held: Map, turns: Turns, telemetry: Telemetry) -> Samples:
    """Return the wall time of some turns, without the time in which another process had the processor."""
    taken = []
    for _ in range(_TURNS):
        held.count(_KEYS // 10)
        with telemetry.stage("read"):
            begun, waited = time.monotonic(), _waited_s()
            turns.turn()
            taken.append(time.monotonic() - begun - (_waited_s() - waited))
        telemetry.completed({})
    return Samples(taken).per(1e-3)


def _waited_s() -> float:
    """Return for how long this thread has been ready and did not run (proc(5), schedstat)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


@contextmanager
def _clients(port: int) -> Iterator[None]:
    """Request page after page, by several processes."""
    url = f"http://127.0.0.1:{port}/metrics"
    code = f"import urllib.request\nwhile True: urllib.request.urlopen({url!r}).read()"
    clients = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) for _ in range(_CLIENTS)
    ]
    try:
        yield
    finally:
        for client in clients:
            client.terminate()
            client.wait()


def _page(port: int, *, gzip: bool = False) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip" if gzip else "identity"})
    page = connection.getresponse().read()
    connection.close()
    return page
