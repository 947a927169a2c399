# SPDX-License-Identifier: Apache-2.0
"""The built Collector: its components, the configurations it accepts, the metrics it serves."""

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from demo import stack
from demo.ports import Ports
from demo.processes import ROOT, run
from scale import services
from sidecar.counts import delta
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot, Temporality
from sidecar.otlp import no_recorded_value
from sidecar.otlp.encode import encode
from sidecar.schema import Instrument, Schema

CONFIG = ROOT / "collector/config.yaml"
BUILDER_CONFIG = ROOT / "collector/builder-config.yaml"
OVERLAYS = ("tls.yaml", "token.yaml")
CONFIGS = sorted({path.name for path in CONFIG.parent.glob("*.yaml")} - {BUILDER_CONFIG.name, *OVERLAYS})

SECOND_NS = 1_000_000_000

CYCLES = 50

# One cycle of one sidecar. Prometheus samples are float64, exact up to 2**53.
DELTAS = {
    "xdp.packets.total": 6180,
    "xdp.bytes.total": 2**53 // CYCLES,
    "xdp.packets.tcp": 4106,
    "xdp.packets.udp": 408,
    "xdp.packets.icmp": 50,
    "xdp.packets.other": 1616,
    "xdp.packets.ipv4": 4561,
    "xdp.packets.ipv6": 3,
}
RATE = 123.25

LABELS = '{instance="one",job="xdp-packet-counter",network_interface_name="eth7"}'


def served(*, cycles: int) -> dict[str, tuple[str, float]]:
    """Return the expected /metrics after *cycles* cycles: each series with its type and value."""
    return {
        f"xdp_xdp_packets_total{LABELS}": ("counter", 6180 * cycles),
        f"xdp_xdp_bytes_total{LABELS}": ("counter", 2**53 // CYCLES * cycles),
        f"xdp_xdp_packets_tcp{LABELS}": ("counter", 4106 * cycles),
        f"xdp_xdp_packets_udp{LABELS}": ("counter", 408 * cycles),
        f"xdp_xdp_packets_icmp{LABELS}": ("counter", 50 * cycles),
        f"xdp_xdp_packets_other{LABELS}": ("counter", 1616 * cycles),
        f"xdp_xdp_packets_ipv4{LABELS}": ("counter", 4561 * cycles),
        f"xdp_xdp_packets_ipv6{LABELS}": ("counter", 3 * cycles),
        f"xdp_xdp_packets_rate{LABELS}": ("gauge", 123.25),
        'xdp_target_info{instance="one",job="xdp-packet-counter"}': ("gauge", 1),
    }


@dataclass(frozen=True)
class Collector:
    """A running Collector with its own ports."""

    ports: Ports
    log: Path

    def export(self, request: ExportMetricsServiceRequest) -> None:
        """Send one OTLP request; return once it is acknowledged in full; raise RpcError if it is refused."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports.otlp}") as channel:
            call = channel.unary_unary(
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                request_serializer=ExportMetricsServiceRequest.SerializeToString,
                response_deserializer=ExportMetricsServiceResponse.FromString,
            )
            response = call(request, timeout=60)
        assert not response.partial_success.rejected_data_points
        assert not response.partial_success.error_message


def scrape(port: int) -> dict[str, tuple[str, float]]:
    """Return each series of a /metrics endpoint with its type and value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE "))
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {series: (types.get(series.split("{")[0], ""), float(value)) for series, value in samples}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """Run the built Collector with the shipped configuration on free ports."""
    ports = Ports.free()
    with stack.collector(tmp_path, ports) as service:
        yield Collector(ports, service.log)


def cycle(start_ns: int, end_ns: int) -> ExportMetricsServiceRequest:
    """Return the request of one cycle: DELTAS as delta sums over (start_ns, end_ns], RATE as a gauge."""
    attributes = [attribute("network.interface.name", "eth7")]
    sums = [
        Metric(
            name=name,
            sum=Sum(
                aggregation_temporality=AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA,
                is_monotonic=True,
                data_points=[
                    NumberDataPoint(
                        as_int=value,
                        start_time_unix_nano=start_ns,
                        time_unix_nano=end_ns,
                        attributes=attributes,
                    )
                ],
            ),
        )
        for name, value in DELTAS.items()
    ]
    rate = NumberDataPoint(as_double=RATE, time_unix_nano=end_ns, attributes=attributes)
    scope = ScopeMetrics(metrics=[*sums, Metric(name="xdp.packets.rate", gauge=Gauge(data_points=[rate]))])
    names = {"service.name": "xdp-packet-counter", "service.instance.id": "one"}
    resource = Resource(attributes=[attribute(*pair) for pair in names.items()])
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope])]
    )


def attribute(key: str, value: str) -> KeyValue:
    """Return one OTLP attribute."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def load(path: Path) -> dict[str, Any]:
    """Parse a YAML file."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


@pytest.mark.parametrize("overlays", [(), OVERLAYS[:1], OVERLAYS[1:], OVERLAYS])
@pytest.mark.parametrize("config", CONFIGS)
def test_shipped_configuration_is_valid(
    config: str, overlays: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`validate` accepts each configuration with each overlay, without output."""
    monkeypatch.setenv("COLLECTOR_STORAGE_DIR", str(tmp_path))
    files = [f"--config={CONFIG.parent / file}" for file in (config, *overlays)]

    assert not run(str(stack.COLLECTOR), "validate", *files)


@pytest.mark.parametrize("config", sorted({*CONFIGS} - {CONFIG.name}))
def test_other_configurations_start_without_a_warning(config: str, tmp_path: Path) -> None:
    """No deprecation in the other configurations; a refused connection to the next hop is expected."""
    with services.collector("it", tmp_path, Ports.free(), [config], {}) as service:
        lines = [line for line in service.log.read_text().splitlines() if "\t" in line]

    assert not [line for line in lines if "\tinfo\t" not in line and "connection refused" not in line]


def test_starts_without_a_warning(collector: Collector) -> None:
    """Nothing in the shipped configuration is deprecated or worth a warning."""
    levels = {line.split("\t")[1] for line in collector.log.read_text().splitlines() if "\t" in line}

    assert {"info"} == levels


def test_acknowledged_export_is_served_at_once(collector: Collector) -> None:
    """An acknowledged export is on /metrics at once: exactly nine metrics, by name, type and value."""
    # An idle machine drains a queue before a test could notice, so there must be none.
    assert "sending_queue" not in load(CONFIG)["exporters"]["prometheus"]
    end_ns = time.time_ns() - CYCLES * SECOND_NS

    for cycles in range(1, CYCLES + 1):
        collector.export(cycle(end_ns, end_ns + SECOND_NS))
        end_ns += SECOND_NS

        assert served(cycles=cycles) == scrape(collector.ports.metrics)


def test_identical_resend_counts_once(collector: Collector) -> None:
    """A batch sent three times counts once, two copies are reported as dropped, and the next batch counts."""
    now = time.time_ns()
    batch = cycle(now - 10 * SECOND_NS, now - 5 * SECOND_NS)

    for _ in range(3):
        collector.export(batch)

    assert served(cycles=1) == scrape(collector.ports.metrics)
    dropped = sum(
        value
        for series, (_, value) in scrape(collector.ports.telemetry).items()
        if series.startswith("otelcol_deltatocumulative_datapoints") and "error=" in series
    )
    assert 2 * len(DELTAS) == dropped

    collector.export(cycle(now - 5 * SECOND_NS, now))

    assert served(cycles=2) == scrape(collector.ports.metrics)


def test_a_stale_gauge_is_no_longer_served(collector: Collector) -> None:
    """Several at once and no others; the counters of the same series stay."""
    of = Schema(
        "test",
        Layout(16, (Field("level", 0), Field("packets", 64))),
        (Instrument("level", "1", "", "level", Kind.GAUGE), Instrument("packets", "1", "", "packets")),
        lambda key: (("key", key.decode()),),
    )
    resource = (("service.name", "test"), ("service.instance.id", "one"))
    now = time.time_ns()
    identity = MapIdentity("boot", 41, 1, 1, 16, 9)

    def snapshot(at: int, **cells: tuple[int, int]) -> Snapshot:
        held = {key.encode(): row for key, row in cells.items()}
        return Snapshot(identity, now - 9 * SECOND_NS, now + at, Reading(of.columns(1), held))

    def shown() -> dict[str, float]:
        ours = {name: value for name, (_, value) in scrape(collector.ports.metrics).items() if "key=" in name}
        return {f"{name.split('{')[0]} {name.split('key=')[1][1]}": value for name, value in ours.items()}

    one = snapshot(-3, a=(5, 10), b=(6, 20), c=(7, 30))
    step = delta.advance(delta.baseline_from_zero(one), [one], of)
    for request in encode(resource, Temporality.DELTA, [(of, step.to_export)]):
        collector.export(ExportMetricsServiceRequest.FromString(request))
    counters = {"xdp_packets a": 10.0, "xdp_packets b": 20.0, "xdp_packets c": 30.0}
    assert shown() == {**counters, "xdp_level a": 5.0, "xdp_level b": 6.0, "xdp_level c": 7.0}

    step = delta.advance(step.baseline, [snapshot(-2, b=(8, 21))], of)
    ended = no_recorded_value.requests(resource, of, step.gone, step.baseline.end_ns)
    for request in (*encode(resource, Temporality.DELTA, [(of, step.to_export)]), *ended):
        collector.export(ExportMetricsServiceRequest.FromString(request))
    assert shown() == {**counters, "xdp_packets b": 21.0, "xdp_level b": 8.0}


def test_binary_matches_the_builder_configuration() -> None:
    """The binary has exactly the components of builder-config.yaml, and each is used."""
    built: dict[str, Any] = yaml.safe_load(run(str(stack.COLLECTOR), "components"))
    wanted = load(BUILDER_CONFIG)
    files = [load(CONFIG.parent / file) for file in (*CONFIGS, *OVERLAYS)]

    for kind in ("receivers", "processors", "exporters", "extensions", "providers"):
        assert {each["gomod"] for each in wanted[kind]} == {each["module"] for each in built[kind]}
    for kind in ("receivers", "processors", "exporters", "extensions"):
        # `otlp/second` is a component of type `otlp`.
        used = {name.split("/")[0] for file in files for name in file.get(kind, {})}
        assert used == {each["name"] for each in built[kind]} - {"debug"}


def test_all_components_are_of_one_release() -> None:
    """Core and contrib modules of different releases silently ignore settings."""
    wanted = load(BUILDER_CONFIG)
    components = [each["gomod"] for part in wanted.values() if isinstance(part, list) for each in part]
    versions = {gomod.split()[1] for gomod in components}
    minor = wanted["dist"]["version"].rpartition(".")[0]
    # A release has its version, one for the stable modules, and at most a patch of contrib.
    assert {version.rpartition(".")[0] for version in versions if version.startswith("v0.")} == {f"v{minor}"}
    assert sum(version.startswith("v1.") for version in versions) == 1

    listing = subprocess.run(
        ["go", "version", "-m", stack.COLLECTOR], capture_output=True, text=True, check=True
    ).stdout
    modules = [line.split()[1:3] for line in listing.splitlines() if line.startswith("\tdep\t")]
    ours = ("go.opentelemetry.io/collector/", "github.com/open-telemetry/opentelemetry-collector-contrib/")

    assert versions == {version for name, version in modules if name.startswith(ours)}
