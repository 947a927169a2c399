# SPDX-License-Identifier: Apache-2.0
"""
A simulated day of four interfaces, in a real Prometheus: what the picture in the documentation shows.

The traffic follows the time of day. One node cannot reach its Collector for a while and then catches up, and
the traffic of one interface drops.
"""

import math
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dashboards.files import ROOT
from demo.ports import Ports
from demo.prometheus import answers
from demo.service import Service
from demo.stack import PROMETHEUS

END = datetime(2026, 1, 15, 21, tzinfo=timezone.utc)
BEGIN = END - timedelta(days=1)
STEP_S = 30

_PROMTOOL = ROOT / ".build/bin/promtool"
_CUT_OFF = "core-1"
_OUTAGE = (datetime(2026, 1, 15, 14, 10, tzinfo=timezone.utc), timedelta(minutes=12))
_DROP = datetime(2026, 1, 15, 20, tzinfo=timezone.utc)

Labels = tuple[tuple[str, str], ...]
Samples = list[tuple[int, float]]


@dataclass(frozen=True)
class _Port:
    """An interface: packets per second at the busiest time, bytes per packet, and shares of the packets."""

    node: str
    interface: str
    peak: float
    size: int
    udp: float
    ipv6: float
    peak_hour: float = 15.5
    drops: bool = False

    def rate(self, at: float) -> float:
        """Return its packets per second at a Unix time, but for what is random."""
        hour = at / 3600 % 24
        day = (1 + math.cos((hour - self.peak_hour) * math.pi / 12)) / 2
        left = 0.3 if self.drops and at >= _DROP.timestamp() else 1.0
        return self.peak * (0.2 + 0.8 * math.pow(day, 1.4)) * left


_PORTS = (
    _Port("edge-1", "eth0", 210_000, 840, udp=0.31, ipv6=0.42, peak_hour=20),
    _Port("edge-1", "eth1", 90_000, 610, udp=0.12, ipv6=0.2),
    _Port("edge-2", "eth0", 160_000, 790, udp=0.35, ipv6=0.47, peak_hour=20, drops=True),
    _Port("core-1", "bond0", 60_000, 1120, udp=0.06, ipv6=0.1, peak_hour=13),
)


@contextmanager
def day(directory: Path) -> Iterator[Ports]:
    """
    Put the day into a Prometheus in *directory*, run it, and yield its port.

    Raises DemoError if it does not start, and CalledProcessError if promtool refuses the samples.
    """
    text = directory / "day.om"
    text.write_text("".join(_open_metrics()))
    store = directory / "prometheus"
    subprocess.run(
        [_PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, store], check=True, capture_output=True
    )
    (directory / "prometheus.yml").write_text("{}")
    ports = Ports.free()
    command = [
        str(PROMETHEUS),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={store}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{ports.prometheus}",
    ]
    with Service(
        name="Prometheus",
        command=command,
        env=os.environ,
        log=directory / "prometheus.log",
        ready=lambda: answers(f"http://127.0.0.1:{ports.prometheus}/-/ready"),
    ):
        yield ports


def _open_metrics() -> Iterator[str]:
    for name, labels, samples in _series():
        shown = ",".join(f'{label}="{value}"' for label, value in labels)
        yield from (f"{name}{{{shown}}} {value:.0f} {at}\n" for at, value in samples)
    yield "# EOF\n"


def _series() -> Iterator[tuple[str, Labels, Samples]]:
    for port in _PORTS:
        yield from _counters(port)
    for node in sorted({port.node for port in _PORTS}):
        yield from _own(node)
    firing = (("alertname", "XdpTrafficDrop"), ("alertstate", "firing"), ("severity", "warning"))
    begin = int((_DROP + timedelta(minutes=15)).timestamp())
    where = (("host_name", "edge-2"), ("network_interface_name", "eth0"))
    yield "ALERTS", (*firing, *where), [(at, 1) for at in _times() if at >= begin]


def _counters(port: _Port) -> Iterator[tuple[str, Labels, Samples]]:
    tcp, icmp = 1 - port.udp - 0.012, 0.004
    shares = {
        "packets_total": 1.0,
        "bytes_total": port.size,
        "packets_tcp": tcp,
        "packets_udp": port.udp,
        "packets_icmp": icmp,
        "packets_other": 1 - tcp - port.udp - icmp,
        "packets_ipv4": 1 - port.ipv6 - 0.003,
        "packets_ipv6": port.ipv6,
    }
    packets = delivered = unrest = 0.0
    chance = random.Random(port.size)  # noqa: S311  # the same picture each time
    totals = []
    for at in _times():
        unrest = 0.95 * unrest + chance.gauss(0, 0.012)
        packets += port.rate(at) * (1 + unrest) * STEP_S
        if not _is_cut_off(port.node, at):
            delivered = packets
        totals.append((at, delivered))
    labels = (*_labels(port.node), ("network_interface_name", port.interface))
    for name, share in shares.items():
        yield f"xdp_xdp_{name}", labels, [(at, total * share) for at, total in totals]


def _own(node: str) -> Iterator[tuple[str, Labels, Samples]]:
    labels, times = _labels(node), _times()
    named = (*labels, ("host_name", node))
    for name in ("xdp_target_info", "xdp:node:info"):
        yield name, named, [(at, 1) for at in times]
    yield "xdp_xdp_otel_ready", labels, [(at, 1) for at in times]
    yield "xdp_xdp_otel_stage_runs", (*labels, ("stage", "read")), [(at, at // 10) for at in times]
    delivered, samples = 0, []
    for at in times:
        delivered = delivered if _is_cut_off(node, at) else at
        samples.append((at, float(delivered)))
    yield "xdp:node:delivered_time_seconds", (*named, ("outcome", "delivered")), samples


def _is_cut_off(node: str, at: int) -> bool:
    begin, length = _OUTAGE
    return node == _CUT_OFF and begin.timestamp() <= at < (begin + length).timestamp()


def _labels(node: str) -> Labels:
    return (("job", "xdp-packet-counter"), ("instance", f"{node}-sidecar"))


def _times() -> range:
    # From a little earlier, so that the first rates have a past.
    return range(int(BEGIN.timestamp()) - 3600, int(END.timestamp()) + 1, STEP_S)
