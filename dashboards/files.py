# SPDX-License-Identifier: Apache-2.0
"""The generated files and their content: dashboards, runbook URLs of the rules, the chart's copies."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards import otlp_names
from dashboards.alerts import RULES, runbook_url, with_runbook
from dashboards.collector import collector
from dashboards.fleet import fleet
from dashboards.maps import maps
from dashboards.overview import overview
from dashboards.sidecars import sidecars

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
CHART = ROOT / "helm"
WITHOUT_COLLECTOR = ROOT / "deploy/without-collector"

ALL: tuple[Callable[[], Dashboard], ...] = (overview, fleet, maps, sidecars, collector)


def generated() -> Iterator[tuple[Path, str]]:
    """
    Yield each file with its content.

    Raises SystemExit if the variable RUNBOOK_URL is no URL.
    """
    for make in ALL:
        made = make().build()
        tree = _tree(made)
        for directory in (DASHBOARDS, CHART / "dashboards"):
            yield directory / f"{made.uid}.json", _text(tree)
        if make is not collector:
            other = otlp_names.dashboard(tree)
            yield WITHOUT_COLLECTOR / f"dashboards/{other['uid']}.json", _text(other)
    url = runbook_url()
    for path in sorted(RULES.glob("*.yml")):
        text = with_runbook(path.read_text(), url)
        yield path, text
        yield CHART / "alerts" / path.name, text
        yield WITHOUT_COLLECTOR / "rules" / path.name, otlp_names.rules(text)
    for path in sorted((RULES / "tests").glob("*.yml")):
        yield path, with_runbook(path.read_text(), url)


def _tree(made: model.Dashboard) -> dict[str, Any]:
    """Return what the JSON is made of, without fields for Grafana 11 that later versions do not know."""
    tree: dict[str, Any] = json.loads(json.dumps(made, cls=JSONEncoder))
    for variable in tree["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):
            variable.pop(name)
    for panel in tree["panels"]:
        panel.get("options", {}).pop("footer", None)
    return tree


def _text(tree: dict[str, Any]) -> str:
    return json.dumps(tree, indent=2, sort_keys=True) + "\n"
