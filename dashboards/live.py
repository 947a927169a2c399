# SPDX-License-Identifier: Apache-2.0
"""
The real stack under traffic, to run the panels' queries against.

Its Prometheus has the shipped configuration and rules, with this run's ports and shorter intervals.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from dashboards.alerts import RULES
from dashboards.files import ROOT
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
    ports = Ports.free()
    with ExitStack() as cleanup:
        made = cleanup.enter_context(lab("panels"))
        cleanup.callback(stack.detach, NODE_INTERFACE, made.node)
        sidecar = stack.sidecar(directory, ports, NODE_INTERFACE, made.node)
        counted = ["--direction", "both", "--packet-sizes"]
        sidecar.command = [*sidecar.command, "--self-metrics", "--program-stats", *counted]
        sidecar.env = {**sidecar.env, "OTEL_RESOURCE_ATTRIBUTES": f"host.name={HOST}"}
        agent = Ports.free()
        parts = (
            stack.collector(directory, ports),
            _agent(directory, agent, gateway=ports),
            _prometheus(directory, ports, agent),
            sidecar,
        )
        for service in parts:
            cleanup.enter_context(service)
        made.connect()
        cleanup.enter_context(server(made))
        send(made)
        cleanup.enter_context(trickle(made))
        yield ports


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


def _prometheus(directory: Path, ports: Ports, agent: Ports) -> Service:
    service = stack.prometheus(directory, ports)
    (directory / "prometheus.yml").write_text(json.dumps(_config(directory, ports, agent)))
    service.ready = lambda: answers(f"http://127.0.0.1:{ports.prometheus}/-/ready") and bool(ask(ports, "up"))
    return service


def _config(directory: Path, ports: Ports, agent: Ports) -> dict[str, Any]:
    """Return the shipped configuration with our ports and intervals; copy the rules without intervals."""
    config: dict[str, Any] = yaml.safe_load(_CONFIG.read_text())
    interval = f"{SCRAPE_S}s"
    config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), interval)
    here = {"8889": [ports.metrics], "8888": [ports.telemetry, agent.telemetry], "9090": [ports.prometheus]}
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            wanted = [here[target.split(":")[1]] for target in group["targets"]]
            group["targets"] = [f"127.0.0.1:{port}" for ports_of_job in wanted for port in ports_of_job]
    config["rule_files"] = []
    for path in RULES.glob("*.yml"):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
        copy = directory / path.name
        copy.write_text(json.dumps(rules))
        config["rule_files"].append(str(copy))
    return config
