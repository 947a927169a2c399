# SPDX-License-Identifier: Apache-2.0
"""One measurement: the resources that gateways and a store need for a number of nodes."""

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.interruption import pause
from demo.ports import Ports
from demo.processes import end, python, run, spawn
from demo.prometheus import query
from demo.service import Service
from scale import services, usage
from scale.nodes import METRICS


@dataclass(frozen=True)
class Load:
    """The load on the gateways."""

    nodes: int
    gateways: int
    interval_s: float = 10.0
    interfaces: int = 1
    tls: bool = False


@dataclass(frozen=True)
class Result:
    """The resources used; cores are CPU seconds per second over the measured time."""

    load: Load
    points_s: float
    gateway_cores: float
    """Of all gateways together."""
    gateway_mib: float
    """Resident size of the largest."""
    connections: int
    """Of the gateway with the most."""
    connection_kib: float
    """Growth of that gateway's resident size per connection."""
    store_cores: float
    store_mib: float
    series: int
    sent_bytes: float
    """TCP payload from agent to gateway, per node and cycle."""
    written_bytes: float
    """The same, gateway to store."""
    p50_ms: float
    p99_ms: float
    failed: int
    late_s: float
    """How far the generator itself fell behind."""
    exact: bool
    """Whether the store has all acknowledged counts, and more only from requests that then failed."""


class _Stage:
    """A running store, gateways and nodes."""

    def __init__(self, cleanup: ExitStack, directory: Path, load: Load) -> None:
        self.load = load
        self.store_ports = Ports.free()
        self.store = cleanup.enter_context(services.store(directory, self.store_ports))
        url = f"http://127.0.0.1:{self.store_ports.prometheus}/api/v1/write"
        self.gateway_ports = [Ports.free() for _ in range(load.gateways)]
        settings, files, ca = {"COLLECTOR_REMOTE_WRITE_ENDPOINT": url}, ["gateway.yaml"], "-"
        if load.tls:
            ca, key = _certificate(directory)
            files.append("tls.yaml")
            settings |= {"COLLECTOR_TLS_CERT_FILE": ca, "COLLECTOR_TLS_KEY_FILE": key}
        self.gateways = [
            cleanup.enter_context(services.collector(f"gateway-{at}", directory, ports, files, settings))
            for at, ports in enumerate(self.gateway_ports)
        ]
        counts = (load.nodes, load.interfaces, load.interval_s, ca)
        targets = [ports.otlp for ports in self.gateway_ports]
        self.idle_mib = max(usage.rss_mib(_pid(gateway)) for gateway in self.gateways)
        self.received = [usage.Received(ports.otlp) for ports in self.gateway_ports]
        self.written = usage.Received(self.store_ports.prometheus)
        self.nodes = spawn(
            python("scale.nodes", *map(str, (*counts, *targets))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        cleanup.callback(end, self.nodes)
        if self.nodes.stdin is None or self.nodes.stdout is None:
            raise DemoError("cannot start the nodes: no pipes")
        self._pipes = self.nodes.stdin, self.nodes.stdout

    def ask(self, what: str = "") -> dict[str, Any]:
        """Return the statistics of the nodes since the last call; raise DemoError if they exited."""
        try:
            self._pipes[0].write(f"{what}\n".encode())
            self._pipes[0].flush()
            answer: dict[str, Any] = json.loads(self._pipes[1].readline())
        except (OSError, json.JSONDecodeError) as error:
            raise DemoError(f"cannot query the nodes: {error}: see their message above") from error
        return answer

    def used(self) -> tuple[float, float, float, int, int]:
        """Return now, CPU seconds of gateways and store, bytes received by gateways and store."""
        gateways_s = sum(usage.cpu_s(_pid(gateway)) for gateway in self.gateways)
        received = sum(each.bytes() for each in self.received)
        return time.monotonic(), gateways_s, usage.cpu_s(_pid(self.store)), received, self.written.bytes()

    def is_exact(self) -> bool:
        """
        Stop all nodes; return whether the store has all acknowledged counts.

        It may have more where a response came too late, but never more than was sent.
        """
        answer = self.ask("hold")
        shown = query(self.store_ports, "sum(xdp_xdp_packets_total)") or "0"
        return bool(answer["acknowledged"] <= int(float(shown)) <= answer["sent"])


def measure(directory: Path, load: Load, seconds: float) -> Result:
    """
    Run *load*; measure for *seconds* once each node has sent twice. Files go to *directory*.

    Raises DemoError if a part does not start, or exits.
    """
    directory.mkdir()
    with ExitStack() as cleanup:
        stage = _Stage(cleanup, directory, load)
        pause(2 * load.interval_s + 2)
        stage.ask()
        before = stage.used()
        while time.monotonic() < before[0] + seconds:
            pause(1)
            after = stage.used()
        return _result(stage, [late - early for late, early in zip(after, before, strict=True)], stage.ask())


def _result(stage: _Stage, used: Sequence[float], answer: dict[str, Any]) -> Result:
    load, answered = stage.load, answer["answered_s"]
    took_s, gateways_s, store_s, received, written = used
    cycles = max(1, len(answered))
    gateway_mib = max(usage.rss_mib(_pid(gateway)) for gateway in stage.gateways)
    connections = max(each.connections for each in stage.received)
    return Result(
        load=load,
        points_s=len(answered) * METRICS * load.interfaces / took_s,
        gateway_cores=gateways_s / took_s,
        gateway_mib=gateway_mib,
        connections=connections,
        connection_kib=(gateway_mib - stage.idle_mib) * 1024 / max(1, connections),
        store_cores=store_s / took_s,
        store_mib=usage.rss_mib(_pid(stage.store)),
        series=int(query(stage.store_ports, 'count({__name__=~"xdp_.*"})') or 0),
        sent_bytes=received / cycles,
        written_bytes=written / cycles,
        p50_ms=_quantile(answered, 0.5) * 1000,
        p99_ms=_quantile(answered, 0.99) * 1000,
        failed=sum(answer["failed"].values()),
        late_s=answer["late_s"],
        exact=stage.is_exact(),
    )


def _certificate(directory: Path) -> tuple[str, str]:
    """Create a self-signed certificate for localhost; return its path and that of its key."""
    certificate, key = str(directory / "tls.crt"), str(directory / "tls.key")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    run(
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        *curve,
        *subject,
        "-keyout",
        key,
        "-out",
        certificate,
    )
    return certificate, key


def _quantile(values: Sequence[float], share: float) -> float:
    return values[int(share * (len(values) - 1))] if values else 0.0


def _pid(service: Service) -> int:
    service.check()
    return service.process.pid if service.process else 0
