# SPDX-License-Identifier: Apache-2.0
"""
The parts of the stack: Collector, Prometheus, sidecar.

Each is a Service, so that a test can stop, kill and restart it while the others run.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.errors import DemoError
from demo.ports import Ports
from demo.processes import ROOT, environment, run
from demo.prometheus import answers, config, scrapes
from demo.service import Service
from demo.tap import FIELDS, Counts
from sidecar.errors import KernelError
from sidecar.kernel import features
from sidecar.kernel.interface import Direction, Interface

COLLECTOR = ROOT / ".build/bin/otelcol-xdp"
PROMETHEUS = ROOT / ".build/bin/prometheus"
SIDECAR = ROOT / ".venv/bin/xdp-otel"
BPFFS = Path("/sys/fs/bpf")


def check_built() -> None:
    """Raise DemoError if a program of the stack is missing."""
    for program in (COLLECTOR, PROMETHEUS, SIDECAR):
        if not os.access(program, os.X_OK):
            raise DemoError(
                f"cannot run {program.relative_to(ROOT)}: not found: `make demo` builds and installs it"
            )


def mount_bpffs() -> None:
    """Mount bpffs at its usual place unless it is mounted."""
    if not BPFFS.is_mount():
        run("mount", "-t", "bpf", "bpf", str(BPFFS))


def collector(directory: Path, ports: Ports) -> Service:
    """Return the built Collector with collector/config.yaml; its log goes to *directory*."""
    env = {
        **os.environ,
        "COLLECTOR_OTLP_ENDPOINT": f"127.0.0.1:{ports.otlp}",
        "COLLECTOR_PROMETHEUS_ENDPOINT": f"127.0.0.1:{ports.metrics}",
        "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{ports.health}",
        "COLLECTOR_TELEMETRY_HOST": "127.0.0.1",
        "COLLECTOR_TELEMETRY_PORT": str(ports.telemetry),
    }
    return Service(
        name="the Collector",
        command=[str(COLLECTOR), "--config", str(ROOT / "collector/config.yaml")],
        env=env,
        log=directory / "collector.log",
        ready=lambda: answers(f"http://127.0.0.1:{ports.health}/"),
    )


def prometheus(directory: Path, ports: Ports) -> Service:
    """
    Return a Prometheus that scrapes the Collector each second; its files go to *directory*.

    It is ready once it has tried to scrape, successfully or not.
    """
    file = directory / "prometheus.yml"
    file.write_text(config(ports))
    command = [
        str(PROMETHEUS),
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{ports.prometheus}",
        # A counter first seen at 500 has grown by 500 since its start time.
        "--enable-feature=created-timestamp-zero-ingestion",
        # Otherwise the first scrape comes 5 s after the start (a hidden flag: it is for testing).
        "--scrape.discovery-reload-interval=100ms",
    ]
    return Service(
        name="Prometheus",
        command=command,
        env=os.environ,
        log=directory / "prometheus.log",
        ready=lambda: answers(f"http://127.0.0.1:{ports.prometheus}/-/ready") and scrapes(ports),
    )


def sidecar(directory: Path, ports: Ports, interface: str, namespace: str | None = None) -> Service:
    """
    Return the sidecar for *interface*, of the network namespace *namespace* if given.

    It loads, attaches and pins the XDP program unless that is done, and is then ready. Its state goes to
    *directory*.
    """
    return _sidecar(directory, ports, _where(interface, namespace), lambda: is_attached(interface, namespace))


def reader(directory: Path, ports: Ports, *flags: str) -> Service:
    """Return the sidecar for the maps that *flags* name, ready after its first cycle; state as above."""
    return _sidecar(directory, ports, flags, (directory / "state/journal").exists)


def _sidecar(directory: Path, ports: Ports, flags: Sequence[str], ready: Callable[[], bool]) -> Service:
    # With it a Collector that lost its state takes up where it ended (docs/delivery.md).
    options = ["--base-point", "--interval", "1", "--state-dir", str(directory / "state")]
    options += ["--otel-endpoint", f"127.0.0.1:{ports.otlp}"]
    return Service(
        name="the sidecar",
        command=[str(SIDECAR), "run", *flags, *options],
        env={**environment(), "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=demo"},
        log=directory / "sidecar.log",
        ready=ready,
    )


def counting(directory: Path, ports: Ports, places: Sequence[Interface]) -> Service:
    """Return the sidecar for these interfaces and directions, ready after its first cycle; state as above."""
    file = directory / "sources.yaml"
    sources = [
        {"interface": place.name, "netns": place.netns, "direction": place.direction} for place in places
    ]
    file.write_text(json.dumps({"sources": sources}))
    return reader(directory, ports, "--config", str(file))


def sees_transmitted() -> bool:
    """Return whether the kernel has the hook where transmitted packets are counted."""
    try:
        features.require_tcx("count transmitted packets")
    except KernelError:
        return False
    return True


def pins(interface: str, namespace: str | None = None) -> Path:
    """Return the directory in which the sidecar pins the map and the link of *interface*."""
    return Interface(interface, namespace).pin_directory


def is_attached(interface: str, namespace: str | None = None) -> bool:
    """Return whether the sidecar's XDP program is on *interface*."""
    return (pins(interface, namespace) / "link").exists()


def detach(interface: str, namespace: str | None = None) -> None:
    """Detach the sidecar's XDP program from *interface* and remove its pins, if there are any."""
    if pins(interface, namespace).exists():
        run(str(SIDECAR), "detach", *_where(interface, namespace))


def kernel_counts(interface: str, namespace: str | None = None, direction: Direction = "receive") -> Counts:
    """
    Return the kernel's counts of *interface*, summed over the CPUs.

    bpftool reads them, since the sidecar's own code is under test.
    """
    return map_counts("pinned", str(Interface(interface, namespace, direction).map_pin))


def map_counts(*which: str) -> Counts:
    """Return the counts in a map, summed over the CPUs; *which* is bpftool's `pinned PATH` or `id ID`."""
    values = json.loads(run("bpftool", "--json", "map", "dump", *which))[0]["formatted"]["values"]
    return {field: sum(value["value"][field] for value in values) for field in FIELDS}


def _where(interface: str, namespace: str | None) -> list[str]:
    return ["--interface", interface, *([] if namespace is None else ["--netns", namespace])]
