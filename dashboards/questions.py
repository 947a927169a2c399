# SPDX-License-Identifier: Apache-2.0
"""
The queries that Grafana would send to Prometheus for a dashboard, derived from its JSON without Grafana.

Only the features of Grafana that these dashboards use: variables by `$name`, the three kinds of them, and
$__rate_interval, $__range. Documented at grafana.com/docs, "Prometheus template variables".
"""

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from demo.ports import Ports
from demo.prometheus import fetch

Values = Mapping[str, str]
"""Variable name to value."""

Series = tuple[dict[str, str], list[tuple[float, float]]]
"""Labels, and values with their Unix time."""

_LABEL_VALUES = re.compile(r"label_values\((?P<match>.+), *(?P<label>\w+)\)")
_LABEL_NAMES = re.compile(r"label_names\((?P<match>.+)\)")


@dataclass(frozen=True)
class Question:
    """One query of one panel, with its variables still in it."""

    panel: str
    expr: str
    legend: str
    instant: bool


def questions(dashboard: Mapping[str, Any]) -> Iterator[Question]:
    """Yield every query of every panel of a dashboard, in its order."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield Question(
                panel["title"], target["expr"], target["legendFormat"], target.get("instant", False)
            )


def variables(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the variables of a dashboard that are Prometheus queries."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable


def options(ports: Ports, variable: Mapping[str, Any], values: Values) -> list[str]:
    """Return the choices of a variable, given the values of the variables before it."""
    query = fill(variable["query"], values)
    if matched := _LABEL_VALUES.fullmatch(query):
        answer = _get(ports, f"label/{matched['label']}/values", {"match[]": matched["match"]})
    elif matched := _LABEL_NAMES.fullmatch(query):
        answer = _get(ports, "labels", {"match[]": f'{{__name__=~".*{matched["match"]}.*"}}'})
    else:
        raise ValueError(f"variable {variable['name']}: no known kind of query: {query}")
    wanted = re.compile(variable.get("regex", "").strip("/"))
    return [value for value in answer if wanted.search(value)]


def everything(ports: Ports, dashboard: Mapping[str, Any]) -> dict[str, str]:
    """Return the initial values of a dashboard: all, or the first choice; "" without choices."""
    values: dict[str, str] = {}
    for variable in variables(dashboard):
        if variable.get("allValue"):
            values[variable["name"]] = variable["allValue"]
            continue
        choices = options(ports, variable, values)
        values[variable["name"]] = (
            "|".join(choices) if variable.get("includeAll") else next(iter(choices), "")
        )
    return values


def fill(text: str, values: Values, *, rate_interval: str = "1m", shown: str = "5m") -> str:
    """Return *text* with the variables replaced."""
    known = {"__rate_interval": rate_interval, "__range": shown, **values}
    return re.sub(r"\$(\w+)", lambda match: known[match[1]], text)


def legend(text: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series: `{{label}}` replaced by its value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), text)


def course(ports: Ports, expr: str, start: float, end: float, step: float) -> list[Series]:
    """Return the result of *expr* from *start* to *end* (Unix seconds)."""
    answer = _get(ports, "query_range", {"query": expr, "start": start, "end": end, "step": step})
    return [
        (series["metric"], [(time, float(value)) for time, value in series["values"]])
        for series in answer["result"]
    ]


def instant(ports: Ports, expr: str) -> list[Series]:
    """Return the current result of *expr*, one value per series."""
    answer = _get(ports, "query", {"query": expr})
    return [
        (series["metric"], [(series["value"][0], float(series["value"][1]))]) for series in answer["result"]
    ]


def _get(ports: Ports, path: str, parameters: Mapping[str, Any]) -> Any:
    url = f"http://127.0.0.1:{ports.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    return json.loads(fetch(url))["data"]
