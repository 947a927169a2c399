# SPDX-License-Identifier: Apache-2.0
"""Send known traffic through the XDP program; compare what was sent, counted, and stored by Prometheus."""

import argparse
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import interruption, prometheus, sources, stack
from demo.comparison import Row, places_of, settle
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
    mode = _arguments()
    interruption.listen()
    try:
        with workplace(needs_root=not mode.stack) as place:
            if mode.stack:
                serve(place)
                return 0
            if mode.interface or mode.map or mode.config:
                chosen = sources.chosen(mode.interface, mode.map, mode.config)
                count(place, chosen, mode.interface)
                return 0
            rows, line = demonstrate(place)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except interruption.Interrupted as interrupted:
        return 128 + interrupted.number
    print(line)
    return 0 if all(row.agrees for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--stack", action="store_true", help="Collector and Prometheus alone, for your own sidecar"
    )
    modes.add_argument("--interface", help="the stack, counting on this interface of the host")
    modes.add_argument("--map", help="the stack, reading the map pinned there")
    modes.add_argument("--config", help="the stack, reading the sources in this file")
    return parser.parse_args()


@contextmanager
def workplace(*, needs_root: bool = True) -> Iterator[Workplace]:
    """
    Check the prerequisites; on exit, undo everything.

    Raises DemoError, before anything is started, if a prerequisite is missing.
    """
    if needs_root and os.geteuid() != 0:
        raise DemoError("cannot start: network namespaces and XDP need root: run it with sudo")
    ports = Ports.from_environment()
    stack.check_built()
    ports.check()
    if os.geteuid() == 0:
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
    counted = places_of(made)
    for one in counted:
        place.cleanup.callback(stack.detach, one.name, one.netns)
    sidecar = stack.counting(place.directory, place.ports, counted)
    services = start(place, *store(place), sidecar)
    with step("Tap the client's interface and connect the two"):
        truth = place.cleanup.enter_context(tap(made.client, CLIENT_INTERFACE))
        made.connect()
        dropped_before = made.dropped()
        place.cleanup.enter_context(server(made))
    with step("Send TCP, UDP, ICMP, ARP, VLAN tags, fragments, broken frames"):
        send(made)
    with step("Wait until Prometheus has all counts"):
        tables = settle(truth, place.ports, counted)
    for one, found in zip(counted, tables, strict=True):
        print(f"\n{table(one, found, colours=is_terminal())}")
    print(f"\n{peak_rate(place.ports)}\n")
    rows = [row for found in tables for row in found]
    if not all(row.agrees for row in rows):
        print(f"The sidecar's log ends\n{services[-1].tail()}\n")
    dropped = made.dropped() - dropped_before
    line = conclusion(rows, seconds=time.monotonic() - started, dropped=dropped)
    if os.environ.get("KEEP", "") not in ("", "0"):
        print(line)
        place.cleanup.enter_context(trickle(made))
        print(addresses(place.ports))
        until_interrupted(services, lambda: now(place.ports, NODE_INTERFACE))
    return rows, line


def serve(place: Workplace) -> None:
    """Run Collector and Prometheus until Ctrl-C, for sidecars that others start."""
    services = start(place, *store(place))
    print(addresses(place.ports))
    print(f"\nYour sidecar, in another terminal:\n\n    {command(place.ports)}\n")
    until_interrupted(services, lambda: arrived(place.ports))


def count(place: Workplace, chosen: sources.Chosen, interface: str | None) -> None:
    """Run the stack on the chosen sources until Ctrl-C; then detach what the sidecar attached."""
    for one in chosen.interfaces:
        if not stack.is_attached(one.name, one.netns):
            place.cleanup.callback(stack.detach, one.name, one.netns)
    sidecar = stack.reader(place.directory, place.ports, *chosen.flags)
    services = start(place, *store(place), sidecar)
    print(addresses(place.ports))
    until_interrupted(services, lambda: now(place.ports, interface) if interface else arrived(place.ports))


def store(place: Workplace) -> tuple[Service, Service]:
    """Return Collector and Prometheus."""
    return stack.collector(place.directory, place.ports), stack.prometheus(place.directory, place.ports)


def start(place: Workplace, *services: Service) -> tuple[Service, ...]:
    """Start the services in their order; they are stopped in the opposite one."""
    for service in services:
        with step(f"Start {service.name}"):
            place.cleanup.enter_context(service)
    return services


def peak_rate(ports: Ports) -> str:
    """Return a line about the gauge: a mean over each interval, comparable with no count."""
    peak = prometheus.query(ports, f"max_over_time({prometheus.rate(NODE_INTERFACE)}[5m])")
    return f"{prometheus.RATE} (gauge, not compared): peak {float(peak or 0):,.1f} packets/s"


def addresses(ports: Ports) -> str:
    """Return where the stack listens."""
    return (
        f"Collector   127.0.0.1:{ports.otlp} (OTLP gRPC), http://127.0.0.1:{ports.metrics}/metrics\n"
        f"Prometheus  http://127.0.0.1:{ports.prometheus}\n"
        "Ctrl-C stops everything and cleans up."
    )


def command(ports: Ports) -> str:
    """Return the command of a sidecar that sends to this Collector."""
    endpoint = "" if ports.otlp == Ports.otlp else f" --otel-endpoint localhost:{ports.otlp}"
    return f"sudo .venv/bin/xdp-otel --map-path PIN --base-point{endpoint}"


def until_interrupted(services: Sequence[Service], line: Callable[[], str]) -> None:
    """Print a live line until Ctrl-C; raise DemoError if a service exits on its own."""
    try:
        for second in itertools.count():
            for service in services:
                service.check()
            if is_terminal() or second % 10 == 0:
                live(line())
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


def arrived(ports: Ports) -> str:
    """Return how much of sidecars is in Prometheus as a line."""
    series, sidecars = prometheus.arrived(ports)
    if not series:
        return "nothing in Prometheus yet"
    return f"in Prometheus: {series:,} series from {sidecars:,} sidecar{'s' if sidecars > 1 else ''}"


if __name__ == "__main__":
    sys.exit(main())
