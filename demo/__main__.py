# SPDX-License-Identifier: Apache-2.0
"""Send known traffic through the XDP program; compare what was sent, counted, and stored by Prometheus."""

import argparse
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import interruption, prometheus, stack
from demo.comparison import Row, settle
from demo.errors import DemoError
from demo.generator import send, server, trickle
from demo.namespaces import CLIENT_INTERFACE, NODE_INTERFACE, lab
from demo.ports import Ports
from demo.progress import is_terminal, live, step
from demo.report import conclusion, table
from demo.service import Service
from demo.tap import tap


@dataclass(frozen=True)
class Workplace:
    """The resources of a run: ports, a directory, and the cleanup to perform at the end."""

    ports: Ports
    directory: Path
    cleanup: ExitStack


def main() -> int:
    """Return the exit code: 0 all agree, 1 a difference or failure, 130 after Ctrl-C, 143 after SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--interface", help="count on this interface of the host; no traffic is sent")
    interface = parser.parse_args().interface
    interruption.listen()
    try:
        with workplace() as place:
            if interface is not None:
                until_interrupted(place, start(place, interface), interface)
                return 0
            rows, line = demonstrate(place)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except interruption.Interrupted as interrupted:
        return 128 + interrupted.number
    print(line)
    return 0 if all(row.agrees for row in rows) else 1


@contextmanager
def workplace() -> Iterator[Workplace]:
    """
    Check the prerequisites; on exit, undo everything.

    Raises DemoError, before anything is started, if a prerequisite is missing.
    """
    if os.geteuid() != 0:
        raise DemoError("cannot start: network namespaces and XDP need root: run it with sudo")
    ports = Ports.from_environment()
    stack.check_built()
    ports.check()
    stack.mount_bpffs()
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="xdp-demo-")))
        try:
            yield Workplace(ports, directory, cleanup)
        finally:
            with step("Clean up"):
                cleanup.close()


def demonstrate(place: Workplace) -> tuple[list[Row], str]:
    """Send the traffic between two namespaces; return the comparison and its conclusion."""
    started = time.monotonic()
    with step("Create two network namespaces, joined by a veth pair"):
        made = place.cleanup.enter_context(lab())
    print(f"    {made.client} -> {made.node}")
    services = start(place, NODE_INTERFACE, made.node)
    with step("Tap the client's interface and connect the two"):
        truth = place.cleanup.enter_context(tap(made.client, CLIENT_INTERFACE))
        made.connect()
        dropped_before = made.dropped()
        place.cleanup.enter_context(server(made))
    with step("Send TCP, UDP, ICMP, ARP, VLAN tags, fragments, broken frames"):
        send(made)
    with step("Wait until Prometheus has all counts"):
        rows = settle(truth, place.ports, made)
    print(f"\n{table(rows, colours=is_terminal())}\n\n{peak_rate(place.ports)}\n")
    if not all(row.agrees for row in rows):
        print(f"The sidecar's log ends\n{services[-1].tail()}\n")
    dropped = made.dropped() - dropped_before
    line = conclusion(rows, seconds=time.monotonic() - started, dropped=dropped)
    if os.environ.get("KEEP", "") not in ("", "0"):
        print(line)
        place.cleanup.enter_context(trickle(made))
        until_interrupted(place, services, NODE_INTERFACE)
    return rows, line


def start(place: Workplace, interface: str, namespace: str | None = None) -> list[Service]:
    """Start Collector, Prometheus and sidecar; on cleanup, detach what the sidecar attached."""
    if not stack.is_attached(interface, namespace):
        place.cleanup.callback(stack.detach, interface, namespace)
    services = [
        stack.collector(place.directory, place.ports),
        stack.prometheus(place.directory, place.ports),
        stack.sidecar(place.directory, place.ports, interface, namespace),
    ]
    for service in services:
        with step(f"Start {service.name}"):
            place.cleanup.enter_context(service)
    return services


def peak_rate(ports: Ports) -> str:
    """Return a line about the gauge: a mean over each interval, comparable with no count."""
    peak = prometheus.query(ports, f"max_over_time({prometheus.rate(NODE_INTERFACE)}[5m])")
    return f"{prometheus.RATE} (gauge, not compared): peak {float(peak or 0):,.1f} packets/s"


def until_interrupted(place: Workplace, services: list[Service], interface: str) -> None:
    """Print the addresses and a live line until Ctrl-C; raise DemoError if a service exits on its own."""
    ports = place.ports
    print(
        f"Collector   127.0.0.1:{ports.otlp} (OTLP gRPC), http://127.0.0.1:{ports.metrics}/metrics\n"
        f"Prometheus  http://127.0.0.1:{ports.prometheus}\n"
        "Ctrl-C stops everything and cleans up."
    )
    try:
        for second in itertools.count():
            for service in services:
                service.check()
            if is_terminal() or second % 10 == 0:
                live(now(ports, interface))
            interruption.pause(1)
    except interruption.Interrupted as interrupted:
        print()
        if interrupted.number != signal.SIGINT:
            raise


def now(ports: Ports, interface: str) -> str:
    """Return the current counts of *interface* in Prometheus as a line."""
    seen = prometheus.counters(ports, interface)
    speed = prometheus.query(ports, prometheus.rate(interface))
    packets, size = seen["total_packets"], seen["total_bytes"]
    if packets is None or size is None or speed is None:
        return f"{interface}: nothing in Prometheus yet"
    return f"{interface}: {packets:,} packets, {size:,} bytes, {float(speed):,.1f} packets/s"


if __name__ == "__main__":
    sys.exit(main())
