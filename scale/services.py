# SPDX-License-Identifier: Apache-2.0
"""
The parts between a node and a store: agent, gateway, generic OTLP sender, Prometheus as store.

Each is a Service on ports of its own, so that a test can stop, kill and restart it while the others run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.ports import Ports
from demo.processes import ROOT, environment
from demo.prometheus import answers
from demo.service import Service
from demo.stack import COLLECTOR, PROMETHEUS, SIDECAR


def remote_write(store: Ports) -> dict[str, str]:
    """Return the setting that makes a gateway write to *store*."""
    return {"COLLECTOR_REMOTE_WRITE_ENDPOINT": f"http://127.0.0.1:{store.prometheus}/api/v1/write"}


def collector(
    name: str,
    directory: Path,
    ports: Ports,
    files: Sequence[str],
    settings: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    overrides: Sequence[str] = (),
    inside: Sequence[str] = (),
) -> Service:
    """
    Return the built Collector with *files* of collector/, merged in this order.

    Args:
        name: Unique in *directory*; names its log and its storage, which is created.
        directory: For log and storage.
        ports: The ports to listen on.
        files: Such as `gateway.yaml`, `tls.yaml`.
        settings: Variables of collector/README.md.
        host: The address it listens on for OTLP.
        overrides: Single settings, `exporters::otlp_grpc::timeout: 1s`.
        inside: A command in front of the Collector's, such as unshare.

    """
    storage = directory / f"{name}-storage"
    storage.mkdir(exist_ok=True)
    env = {
        **environment(),
        "COLLECTOR_OTLP_ENDPOINT": f"{host}:{ports.otlp}",
        "COLLECTOR_PROMETHEUS_ENDPOINT": f"127.0.0.1:{ports.metrics}",
        "COLLECTOR_HEALTH_ENDPOINT": f"127.0.0.1:{ports.health}",
        "COLLECTOR_TELEMETRY_HOST": "127.0.0.1",
        "COLLECTOR_TELEMETRY_PORT": str(ports.telemetry),
        "COLLECTOR_STORAGE_DIR": str(storage),
        **settings,
    }
    configs = [str(ROOT / "collector" / file) for file in files]
    configs += [f"yaml:{override}" for override in overrides]
    return Service(
        name=f"the Collector {name}",
        command=[*inside, str(COLLECTOR), *(part for config in configs for part in ("--config", config))],
        env=env,
        log=directory / f"{name}.log",
        ready=lambda: answers(f"http://127.0.0.1:{ports.health}/"),
    )


def store(directory: Path, ports: Ports, *, late: str = "0s", options: Sequence[str] = ()) -> Service:
    """Return a Prometheus that receives remote write and OTLP, samples up to *late*, and scrapes nothing."""
    file = directory / "store.yml"
    # Metric names unchanged, as in gateway.yaml (JSON is YAML).
    otlp = {"translation_strategy": "UnderscoreEscapingWithoutSuffixes"}
    file.write_text(json.dumps({"otlp": otlp, "storage": {"tsdb": {"out_of_order_time_window": late}}}))
    return prometheus(directory, ports, file, *options)


def otlp_prometheus(directory: Path, ports: Ports) -> Service:
    """Return the Prometheus of deploy/without-collector, which receives what sidecars send by OTLP/HTTP."""
    return prometheus(directory, ports, ROOT / "deploy/without-collector/prometheus.yml")


def prometheus(directory: Path, ports: Ports, file: Path, *options: str) -> Service:
    """Return a Prometheus with the configuration *file* that receives remote write and OTLP."""
    return Service(
        name="the store",
        command=[
            str(PROMETHEUS),
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'store'}",
            f"--web.listen-address=127.0.0.1:{ports.prometheus}",
            "--web.enable-remote-write-receiver",
            "--web.enable-otlp-receiver",
            *options,
        ],
        env=environment(),
        log=directory / "store.log",
        ready=lambda: answers(f"http://127.0.0.1:{ports.prometheus}/-/ready"),
    )


def sidecar(
    directory: Path, pin: Path, endpoint: str, *options: str, settings: Mapping[str, str] | None = None
) -> Service:
    """Return the sidecar on the map *pin*, every 0.2 s; ready once it has its instance id."""
    state = directory / "state"
    command = [str(SIDECAR), "run", "--map-path", str(pin), "--state-dir", str(state), "--interval", "0.2"]
    return Service(
        name="the sidecar",
        command=[*command, "--otel-endpoint", endpoint, *options],
        env={**environment(), **(settings or {})},
        log=directory / "sidecar.log",
        ready=(state / "instance-id").exists,
    )
