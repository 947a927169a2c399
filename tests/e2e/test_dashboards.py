# SPDX-License-Identifier: Apache-2.0
"""
Every query of the dashboards and rules, run against the real stack under traffic.

Without Grafana: the tests show that each query returns data, not what a panel looks like.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="it needs Python 3.11")

from dashboards.alerts import RULES
from dashboards.files import DASHBOARDS, ROOT
from dashboards.live import live
from dashboards.questions import course, everything, fill, instant, options, questions, variables
from demo.ports import Ports
from demo.prometheus import fetch
from tests.waiting import settled

ANSWERED_WITHIN_S = 60
RECENT_S = 5

# Empty as long as nothing is wrong; and alerts that are about no node count for any.
ONLY_IN_TROUBLE = {"Alerts firing"}
OF_NO_NODE = {"Critical alerts", "Warnings"}

# Exist only after a failure, or come from other exporters.
NOT_ALWAYS = {
    "otelcol_exporter_send_failed_metric_points",
    "otelcol_exporter_enqueue_failed_metric_points",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Run the stack with the self-metrics of all its parts."""
    with live(tmp_path_factory.mktemp("live")) as running:
        yield running


@pytest.fixture(params=sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return one dashboard as Grafana reads it."""
    read: dict[str, Any] = json.loads(request.param.read_text())
    return read


def unanswered(ports: Ports, dashboard: dict[str, Any], values: dict[str, str]) -> list[str]:
    """Return the panels, with their queries, for which Prometheus returns no number."""
    now = time.time()
    missing = []
    for question in questions(dashboard):
        expr = fill(question.expr, values, rate_interval="4s", shown="20s")
        answer = instant(ports, expr) if question.instant else course(ports, expr, now - RECENT_S, now, 1)
        numbers = [value for _, points in answer for _, value in points if value == value]  # noqa: PLR0124
        if not numbers and question.panel not in ONLY_IN_TROUBLE:
            missing.append(f"{question.panel}: {question.expr}")
    return missing


def lacking(ports: Ports, dashboard: dict[str, Any], **chosen: str) -> list[str]:
    """Return the panels that still have no data once time is up; at first there may be no choices."""
    return settled(
        lambda: unanswered(ports, dashboard, everything(ports, dashboard) | chosen),
        [],
        ANSWERED_WITHIN_S,
        every_s=1,
    )


def test_every_panel_has_data(ports: Ports, dashboard: dict[str, Any]) -> None:
    """With the default choices, no panel of a dashboard is empty."""
    assert [] == lacking(ports, dashboard)


def test_every_panel_has_data_for_what_is_chosen(ports: Ports, dashboard: dict[str, Any]) -> None:
    """Each variable has choices, and each panel has data for some value of the last variable."""
    lacking(ports, dashboard)
    values = everything(ports, dashboard)
    for variable in variables(dashboard):
        found = options(ports, variable, values)
        values[variable["name"]] = found[0]

    missing = [unanswered(ports, dashboard, values | {variable["name"]: value}) for value in found]

    assert [] == [panel for panel in missing[0] if all(panel in others for others in missing)]


def test_every_panel_is_empty_for_an_unknown_node(ports: Ports) -> None:
    """The choice of a node applies to every query about nodes."""
    for name in ("xdp-overview", "xdp-sidecars"):
        dashboard = json.loads((DASHBOARDS / f"{name}.json").read_text())
        values = everything(ports, dashboard) | {"node": "nowhere"}

        missing = {panel.split(": ")[0] for panel in unanswered(ports, dashboard, values)}
        assert {question.panel for question in questions(dashboard)} - missing <= OF_NO_NODE | ONLY_IN_TROUBLE


def test_every_map_metric_can_be_shown(ports: Ports) -> None:
    """The maps dashboard shows each metric by each of its labels."""
    dashboard = json.loads((DASHBOARDS / "xdp-maps.json").read_text())
    lacking(ports, dashboard)
    values = everything(ports, dashboard)
    by_name = {variable["name"]: variable for variable in variables(dashboard)}
    metrics = options(ports, by_name["metric"], values)

    assert set(metrics) >= {"xdp_xdp_packets_total", "xdp_xdp_bytes_total", "xdp_xdp_packets_tcp"}
    for metric in metrics:
        values["metric"] = metric
        for label in options(ports, by_name["label"], values):
            assert [] == lacking(ports, dashboard, metric=metric, label=label)


def test_every_rule_is_evaluated_and_no_alert_fires(ports: Ports) -> None:
    """Prometheus evaluates every rule on real series, and a healthy stack fires no alert."""
    url = f"http://127.0.0.1:{ports.prometheus}/api/v1/rules"

    def rules() -> list[dict[str, Any]]:
        return [rule for group in json.loads(fetch(url))["data"]["groups"] for rule in group["rules"]]

    def amiss() -> list[tuple[str, ...]]:
        """Return the rules that are not evaluated yet, failed or fire: at first a sidecar is not ready."""
        states = [(rule["name"], rule["health"], rule.get("state", "inactive")) for rule in rules()]
        return [state for state in states if state[1:] != ("ok", "inactive")]

    assert [] == settled(amiss, [], ANSWERED_WITHIN_S)
    assert len(rules()) == len(re.findall(r"(?m)^      - (?:alert|record): ", _rules()))


def test_every_metric_in_a_rule_exists(ports: Ports) -> None:
    """An alert on a metric that does not exist would never fire."""
    exprs = re.sub(r"(?m)^\s*(#|-? ?(summary|description|runbook_url|alert):).*$", "", _rules())
    named = set(re.findall(r"\b(?:xdp|otelcol|prometheus|node|kubelet|scrape)_[a-z0-9_]+\b", exprs))
    url = f"http://127.0.0.1:{ports.prometheus}/api/v1/label/__name__/values"
    labels = {"xdp_otel", "node_exporter"}

    def unknown() -> set[str]:
        return named - labels - set(json.loads(fetch(url))["data"])

    assert settled(unknown, NOT_ALWAYS, ANSWERED_WITHIN_S) == NOT_ALWAYS


def test_every_recipe_has_an_answer(ports: Ports) -> None:
    """Each PromQL recipe of docs/metrics.md returns data."""
    blocks = re.findall(r"(?s)```promql\n(.*?)```", (ROOT / "docs/metrics.md").read_text())
    recipes = [line for block in blocks for line in block.splitlines()]

    def missing() -> list[str]:
        return [recipe for recipe in recipes if not instant(ports, recipe)]

    assert [] == settled(missing, [], ANSWERED_WITHIN_S, every_s=1)
    assert len(recipes) >= 19


def _rules() -> str:
    return "".join(path.read_text() for path in RULES.glob("*.yml"))
