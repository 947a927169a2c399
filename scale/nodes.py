# SPDX-License-Identifier: Apache-2.0
"""
Many nodes in one process, each with its own connection, sending what its agent would.

`python -m scale.nodes COUNT INTERFACES INTERVAL_S CA PORT...` sends the totals of COUNT nodes, with gzip as
agents do, distributed over the gateways on these ports, with TLS unless CA is `-`. The nodes start spread
over the first interval. It answers each line on standard input with a line of JSON, the statistics since the
last; the line `hold` first stops all nodes, after their requests in flight.
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
from grpc import aio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
SUMS = {
    "xdp.packets.total": "Packets seen by the XDP program.",
    "xdp.bytes.total": "Bytes of all packets, Ethernet header included.",
    "xdp.packets.icmp": "ICMP and ICMPv6 packets.",
    "xdp.packets.tcp": "TCP packets.",
    "xdp.packets.udp": "UDP packets.",
    "xdp.packets.other": "Packets of any other kind.",
    "xdp.packets.ipv4": "IPv4 packets.",
    "xdp.packets.ipv6": "IPv6 packets.",
}
"""The packet counter's sums with their descriptions, which go over the wire each time."""
METRICS = len(SUMS) + 1
"""Points of an interface: the sums and the rate."""

_TIMEOUT_S = 10.0
_CHANNEL_OPTIONS = (
    # Otherwise all nodes of this process share one connection per gateway.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@dataclass
class Books:
    """The statistics since the last query."""

    answered_s: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    late_s: float = 0.0
    """The largest delay of a request against its schedule: if it grows, this process is the bottleneck."""


class Node:
    """A node: its totals, and the request that carries them."""

    def __init__(self, number: int, interfaces: int, chance: Random) -> None:
        """Start to count now."""
        self._chance = chance
        self._counting_since_ns = time.time_ns()
        self.acknowledged = 0
        """The packets, over all interfaces, that a gateway has acknowledged."""
        self.sent = 0
        """The packets in the latest request, acknowledged or not."""
        metrics = [self._sum(name, description, interfaces) for name, description in SUMS.items()]
        rate = Metric(name="xdp.packets.rate", unit="{packet}/s", description="Mean packet rate.")
        rate.gauge.data_points.extend(NumberDataPoint(attributes=_interface(at)) for at in range(interfaces))
        scope = InstrumentationScope(name="xdp-otel", version="1.0")
        names = {
            "host.name": f"node-{number:05}.example",
            "service.instance.id": f"5b0c3f9e-0f1d-5a4e-9d3c-{number:012}",
            "service.name": "xdp-packet-counter",
        }
        whole = ResourceMetrics(
            resource=Resource(attributes=[_attribute(*pair) for pair in names.items()]),
            scope_metrics=[ScopeMetrics(scope=scope, metrics=[*metrics, rate])],
        )
        self._request = ExportMetricsServiceRequest(resource_metrics=[whole])
        # Protobuf copies a message into its parent: count in the copies.
        *copies, rate = self._request.resource_metrics[0].scope_metrics[0].metrics
        self._points = [point for metric in copies for point in metric.sum.data_points]
        self._packets = list(copies[0].sum.data_points)
        self._rates = list(rate.gauge.data_points)

    def _sum(self, name: str, description: str, interfaces: int) -> Metric:
        metric = Metric(name=name, unit="{packet}", description=description)
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = True
        for at in range(interfaces):
            metric.sum.data_points.append(
                NumberDataPoint(
                    attributes=_interface(at), start_time_unix_nano=self._counting_since_ns, as_int=0
                )
            )
        return metric

    def request(self) -> bytes:
        """Increase the counts; return the request that carries them."""
        now_ns = time.time_ns()
        for point in self._points:
            point.as_int += self._chance.randrange(100_000)
            point.time_unix_nano = now_ns
        for point in self._rates:
            point.as_double = self._chance.random() * 1e6
            point.time_unix_nano = now_ns
        self.sent = sum(point.as_int for point in self._packets)
        return self._request.SerializeToString()


def _interface(number: int) -> list[KeyValue]:
    return [_attribute("network.interface.name", f"eth{number}")]


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


class Fleet:
    """All nodes of this process."""

    def __init__(self, count: int, interfaces: int, interval_s: float, ca: Path | None) -> None:
        """Create the nodes; nothing is sent yet."""
        chance = Random(1)  # noqa: S311 - counts, no secrets
        self._roots = ca.read_bytes() if ca else b""
        self.nodes = [Node(number, interfaces, chance) for number in range(count)]
        self.books = Books()
        self._interval_s = interval_s
        self.held = asyncio.Event()

    async def run(self, number: int, port: int) -> None:
        """Send the totals of a node until all nodes are held."""
        node = self.nodes[number]
        due = time.monotonic() + self._interval_s * number / len(self.nodes)
        async with self._channel(f"localhost:{port}") as channel:
            export: Any = channel.unary_unary(METHOD)
            while not await self._held_until(due):
                self.books.late_s = max(self.books.late_s, time.monotonic() - due)
                await self._send(node, export)
                # No backlog: the next total includes what a node cannot send in time.
                due = max(due + self._interval_s, time.monotonic())

    def _channel(self, target: str) -> aio.Channel:
        if not self._roots:
            return aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        return aio.secure_channel(target, grpc.ssl_channel_credentials(self._roots), options=_CHANNEL_OPTIONS)

    async def _held_until(self, due: float) -> bool:
        # wait_for with a timeout of 0 gives up before it looks at the event.
        if self.held.is_set():
            return True
        try:
            await asyncio.wait_for(self.held.wait(), max(0.0, due - time.monotonic()))
        except asyncio.TimeoutError:
            return False
        return True

    async def _send(self, node: Node, export: Any) -> None:
        request = node.request()
        began = time.monotonic()
        try:
            await export(request, timeout=_TIMEOUT_S, compression=grpc.Compression.Gzip)
        except aio.AioRpcError as error:
            name = error.code().name
            self.books.failed[name] = self.books.failed.get(name, 0) + 1
        else:
            self.books.answered_s.append(time.monotonic() - began)
            node.acknowledged = node.sent

    def answer(self) -> dict[str, Any]:
        """Return the statistics and reset them."""
        books, self.books = self.books, Books()
        return {
            "answered_s": sorted(books.answered_s),
            "failed": books.failed,
            "late_s": books.late_s,
            "acknowledged": sum(node.acknowledged for node in self.nodes),
            "sent": sum(node.sent for node in self.nodes),
        }


async def _main() -> None:
    count, interfaces, interval_s, ca, *ports = sys.argv[1:]
    # Each connection takes a descriptor.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fleet = Fleet(int(count), int(interfaces), float(interval_s), None if ca == "-" else Path(ca))
    running = [
        asyncio.create_task(fleet.run(number, int(ports[number % len(ports)])))
        for number in range(int(count))
    ]
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line == "hold\n":
            fleet.held.set()
            await asyncio.gather(*running)
        sys.stdout.write(f"{json.dumps(fleet.answer())}\n")
        sys.stdout.flush()
    fleet.held.set()
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(_main())
