# SPDX-License-Identifier: Apache-2.0
"""The dashboards and rules of deploy/without-collector, against a Prometheus that receives OTLP itself."""

import json
import re
from collections.abc import Iterator

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="it needs Python 3.11")

from dashboards.files import WITHOUT_COLLECTOR
from dashboards.live import live_without_collector
from dashboards.questions import everything, options, variables
from demo.ports import Ports
from demo.prometheus import fetch
from tests.e2e.test_dashboards import ANSWERED_WITHIN_S, NOT_ALWAYS, lacking
from tests.waiting import settled

OF_COLLECTOR = {name for name in NOT_ALWAYS if name.startswith("otelcol_")}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Run sidecar and Prometheus, and traffic."""
    with live_without_collector(tmp_path_factory.mktemp("live")) as running:
        yield running


@pytest.mark.parametrize("name", ["overview", "fleet", "maps", "sidecars"])
def test_every_panel_has_data(ports: Ports, name: str) -> None:
    """With the default choices, no panel is empty; the maps dashboard offers the counts and nothing else."""
    path = WITHOUT_COLLECTOR / f"dashboards/xdp-{name}-without-collector.json"
    dashboard = json.loads(path.read_text())
    assert [] == lacking(ports, dashboard)

    if name == "maps":
        (metric,) = (each for each in variables(dashboard) if each["name"] == "metric")
        offered = set(options(ports, metric, everything(ports, dashboard)))
        assert offered > {"xdp_packets_total", "xdp_bytes_total", "xdp_packets_tcp_total"}
        assert all(re.match("xdp_(packet|bytes|program)", each) for each in offered)


def test_every_rule_is_evaluated_on_series_that_exist(ports: Ports) -> None:
    """An alert on a metric that does not exist would never fire; and a healthy stack fires none."""
    url = f"http://127.0.0.1:{ports.prometheus}/api/v1"

    def amiss() -> list[tuple[str, ...]]:
        groups = json.loads(fetch(f"{url}/rules"))["data"]["groups"]
        states = [
            (rule["name"], rule["health"], rule.get("state", "inactive"))
            for group in groups
            for rule in group["rules"]
        ]
        return [state for state in states if state[1:] != ("ok", "inactive")]

    assert [] == settled(amiss, [], ANSWERED_WITHIN_S)
    text = "".join(path.read_text() for path in (WITHOUT_COLLECTOR / "rules").glob("*.yml"))
    text = re.sub(r"(?m)^\s*(#|-? ?(summary|description|runbook_url|alert):).*$", "", text)
    named = set(re.findall(r"\b(?:xdp|target|prometheus|node|kubelet|otelcol)_[a-z0-9_]+\b", text))
    named -= {"node_exporter"}

    def unknown() -> set[str]:
        return named - set(json.loads(fetch(f"{url}/label/__name__/values"))["data"])

    expected = NOT_ALWAYS - OF_COLLECTOR
    assert settled(unknown, expected, ANSWERED_WITHIN_S) == expected
