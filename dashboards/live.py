# SPDX-License-Identifier: Apache-2.0
"""
The real stack under traffic, to run the panels' queries against.

Its Prometheus has the shipped configuration and rules, with this run's ports and shorter intervals.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from dashboards.alerts import RULES
from dashboards.files import ROOT, WITHOUT_COLLECTOR
from demo import stack
from demo.generator import send, server, trickle
from demo.namespaces import NODE_INTERFACE, lab
from demo.ports import Ports
from demo.prometheus import answers, ask
from demo.service import Service

SCRAPE_S = 1
"""Seconds between scrapes, and between evaluations of the rules."""

HOST = "node-1"
"""The host name in the sidecar's resource."""

_CONFIG = ROOT / "deploy/prometheus/prometheus.yml"


@contextmanager
def live(directory: Path) -> Iterator[Ports]:
    """
    Run Collector, Prometheus and sidecar, with traffic of every kind, and yield the ports.

    Needs root, like the demo. Raises DemoError for what does not start.
    """
    ports, agent = Ports.free(), Ports.free()
    prometheus = _prometheus(directory, ports, _config(directory, ports, agent))
    parts = stack.collector(directory, ports), _agent(directory, agent, gateway=ports), prometheus
    with _counting(directory, ports, parts):
        yield ports


@contextmanager
def live_without_collector(directory: Path) -> Iterator[Ports]:
    """Run the same with deploy/without-collector: the sidecar sends to Prometheus itself."""
    ports = Ports.free()
    config: dict[str, Any] = yaml.safe_load((WITHOUT_COLLECTOR / "prometheus.yml").read_text())
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{ports.prometheus}"]}]
    _hasten(config, directory, WITHOUT_COLLECTOR / "rules")
    prometheus = _prometheus(directory, ports, config)
    prometheus.command = [*prometheus.command, "--web.enable-otlp-receiver"]
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports.prometheus}/api/v1/otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
    }
    with _counting(directory, ports, [prometheus], settings):
        yield ports


@contextmanager
def _counting(
    directory: Path, ports: Ports, parts: Iterable[Service], settings: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run *parts*, then a sidecar that counts traffic of every kind, by the flags or by *settings*."""
    with ExitStack() as cleanup:
        made = cleanup.enter_context(lab("panels"))
        cleanup.callback(stack.detach, NODE_INTERFACE, made.node)
        sidecar = stack.sidecar(directory, ports, NODE_INTERFACE, made.node)
        counted = ["--direction", "both", "--packet-sizes"]
        command = [*sidecar.command, "--self-metrics", "--program-stats", *counted]
        if settings is not None:
            at = command.index("--otel-endpoint")
            command = [part for part in (*command[:at], *command[at + 2 :]) if part != "--base-point"]
        sidecar.command = command
        sidecar.env = {**sidecar.env, "OTEL_RESOURCE_ATTRIBUTES": f"host.name={HOST}", **(settings or {})}
        for service in (*parts, sidecar):
            cleanup.enter_context(service)
        made.connect()
        cleanup.enter_context(server(made))
        send(made)
        cleanup.enter_context(trickle(made))
        yield


def _agent(directory: Path, ports: Ports, *, gateway: Ports) -> Service:
    """Return a Collector without input, which has the disk queue that the other one lacks."""
    service = stack.collector(directory, ports)
    service.name = "the agent"
    service.command = [str(stack.COLLECTOR), "--config", str(ROOT / "collector/agent.yaml")]
    service.log = directory / "agent.log"
    queue = directory / "queue"
    queue.mkdir()
    service.env = {
        **service.env,
        "COLLECTOR_GATEWAY_ENDPOINT": f"127.0.0.1:{gateway.otlp}",
        "COLLECTOR_GATEWAY_INSECURE": "true",
        "COLLECTOR_STORAGE_DIR": str(queue),
    }
    return service


def _prometheus(directory: Path, ports: Ports, config: Mapping[str, Any]) -> Service:
    service = stack.prometheus(directory, ports)
    (directory / "prometheus.yml").write_text(json.dumps(config))
    service.ready = lambda: answers(f"http://127.0.0.1:{ports.prometheus}/-/ready") and bool(ask(ports, "up"))
    return service


def _config(directory: Path, ports: Ports, agent: Ports) -> dict[str, Any]:
    """Return the shipped configuration with our ports and intervals."""
    config: dict[str, Any] = yaml.safe_load(_CONFIG.read_text())
    here = {"8889": [ports.metrics], "8888": [ports.telemetry, agent.telemetry], "9090": [ports.prometheus]}
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            wanted = [here[target.split(":")[1]] for target in group["targets"]]
            group["targets"] = [f"127.0.0.1:{port}" for ports_of_job in wanted for port in ports_of_job]
    _hasten(config, directory, RULES)
    return config


def _hasten(config: dict[str, Any], directory: Path, rules_directory: Path) -> None:
    """Give *config* our intervals, and copies of the rules that wait less."""
    interval = f"{SCRAPE_S}s"
    config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), interval)
    config["rule_files"] = []
    for path in rules_directory.glob("*.yml"):
        # When the last batch was delivered is to a minute.
        rules = yaml.safe_load(path.read_text().replace(" offset 1m\n", " offset 5s\n"))
        for group in rules["groups"]:
            group.pop("interval", None)
        copy = directory / path.name
        copy.write_text(json.dumps(rules))
        config["rule_files"].append(str(copy))
