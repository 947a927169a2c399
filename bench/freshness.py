# SPDX-License-Identifier: Apache-2.0
"""
The delay of a count in Prometheus beyond the two intervals, the sidecar's and the scrape's.

Frames are sent continuously through the demo's stack. The delay is the sum of two parts: from a frame to the
Collector's page, minus the longest wait for the sidecar's cycle, its interval; and from the timestamp of a
scrape to the first query that returns its sample.
"""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

from bench.place import BUILD
from bench.table import Goal, Row, Samples, row
from demo import stack
from demo.namespaces import CLIENT_INTERFACE, NODE_INTERFACE, lab
from demo.ports import Ports
from demo.prometheus import METRICS, ask, fetch
from sidecar.kernel.netns import entered

_INTERVAL_S = 1.0
_SECONDS = 12.0
_EVERY_S = 0.02
_FRAME = bytes.fromhex("020000000002020000000001") + (0x88B5).to_bytes(2, "big") + bytes(46)
_NAME = METRICS["other_packets"]


def rows() -> Iterator[Row]:
    """Yield the delay beyond the intervals."""
    os.environ.pop("OTEL_METRIC_EXPORT_INTERVAL", None)
    stack.check_built()
    stack.mount_bpffs()
    BUILD.mkdir(parents=True, exist_ok=True)
    ports = Ports.free()
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(dir=BUILD)))
        network = running.enter_context(lab("bench"))
        running.callback(stack.detach, NODE_INTERFACE, network.node)
        services = [
            stack.collector(directory, ports),
            stack.prometheus(directory, ports),
            stack.sidecar(directory, ports, NODE_INTERFACE, network.node),
        ]
        for service in services:
            running.enter_context(service)
        network.connect()
        to_collector, to_prometheus = _watch(network.client, ports)
    left = to_collector.over(Samples([_INTERVAL_S] * len(to_collector.values))).per(1e-3)
    queried = to_prometheus.per(1e-3)
    oldest, slowest = max(left.values), max(queried.values)
    yield row(
        "freshness: frame to the Collector's page, less one interval, at most", Samples([oldest]), "ms wall"
    )
    yield row("freshness: scrape to query", queried, "ms wall")
    total, goal = "freshness: what is left besides the two intervals, at most", Goal("value", 100)
    yield row(total, Samples([oldest + slowest]), "ms wall", "both intervals", 2e3 * _INTERVAL_S, goal)


def _watch(namespace: str, ports: Ports) -> tuple[Samples, Samples]:
    sent: list[float] = []
    enough = Event()
    sender = Thread(target=_send, args=(namespace, sent, enough))
    sender.start()
    seen: list[float] = []
    scraped: dict[float, float] = {}
    queries = Thread(target=_query, args=(ports, scraped, enough))
    queries.start()
    deadline = time.monotonic() + _SECONDS
    try:
        while time.monotonic() < deadline:
            count, now = _on_page(ports), time.monotonic()
            # The oldest frame of a batch has waited longest.
            if count > len(seen):
                seen += [now] * (count - len(seen))
            time.sleep(0.002)
    finally:
        enough.set()
        sender.join()
        queries.join()
    # The first batches arrive while the stack is still starting.
    ages = [at - then for at, then in zip(seen, sent, strict=False)][len(seen) // 4 :]
    return Samples(ages), Samples(list(scraped.values())[2:])


def _send(namespace: str, sent: list[float], enough: Event) -> None:
    with entered(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((CLIENT_INTERFACE, 0))
        while not enough.wait(_EVERY_S):
            sent.append(time.monotonic())
            raw.send(_FRAME)


def _on_page(ports: Ports) -> int:
    for line in fetch(f"http://127.0.0.1:{ports.metrics}/metrics").splitlines():
        if line.startswith(_NAME):
            return int(float(line.rsplit(maxsplit=1)[1]))
    return 0


def _query(ports: Ports, scraped: dict[float, float], enough: Event) -> None:
    """Record for each scrape the delay until a query first returned it."""
    while not enough.wait(0.005):
        for series in ask(ports, f"timestamp({_NAME})"):
            scrape = float(series["value"][1])
            scraped.setdefault(scrape, time.time() - scrape)
