# SPDX-License-Identifier: Apache-2.0
"""
Dashboards and rules for a Prometheus that receives OTLP itself: deploy/without-collector.

They are those for our Collector, with other names: the receiver adds no `xdp_`, but the unit and, to a
counter, `_total` (github.com/prometheus/otlptranslator, `UnderscoreEscapingWithSuffixes`).
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dashboards.frame import TAG
from dashboards.promql import MAP_METRICS
from sidecar.observe.self_metrics import SELF_METRICS

_PROFILES = Path(__file__).resolve().parent.parent / "sidecar/describe/profiles"
_UNITS = {"By": "bytes", "s": "seconds", "ns": "nanoseconds"}
_PER = {"s": "per_second"}
_IN_PROMETHEUS = re.compile(r"\bxdp_\w+?(?=(?:_(?:bucket|sum|count))?\b)")
_OF_COLLECTOR = re.compile(r"(?ms)^  - name: xdp-collector-alerts\n.*?(?=^  - name: |\Z)")

_SUFFIX = "-without-collector"
_ADDRESS = re.compile(rf"(?<=/d/){TAG}-\w+")

# A series has the job of its sidecar, and of no other program if all jobs are named.
_MAP_METRICS = '{job=~"$job",__name__!~"target_info|xdp_otel_.+|xdp_.+_per_second|xdp:.+|ALERTS.*"}'


def dashboard(tree: dict[str, Any]) -> dict[str, Any]:
    """
    Return the JSON of a dashboard, as Python objects, with the receiver's names.

    Its uid, title and tag are its own, so that one Grafana can have this one and that for our Collector.
    """
    tags = [TAG + _SUFFIX]
    return {
        **_with_names(tree),
        "uid": tree["uid"] + _SUFFIX,
        "title": f"{tree['title']} without Collector",
        "tags": tags,
        "links": [{**link, "tags": tags} for link in tree["links"]],
    }


def rules(text: str) -> str:
    """Return the text of rules with the receiver's names, and without the alerts about a Collector."""
    return _renamed(_OF_COLLECTOR.sub("", text))


def receiver_name(name: str, unit: str, kind: str) -> str:
    """Return what the receiver calls a metric; *kind* is `counter`, or another that adds nothing."""
    words = name.split(".")
    main, _, per = unit.partition("/")
    for word in (_UNITS.get(main, ""), _PER.get(per, "")):
        words += [word] if word and word not in words else []
    if kind == "counter":
        words = [word for word in words if word != "total"] + ["total"]
    return "_".join(words)


def _with_names(tree: Any) -> Any:
    if isinstance(tree, dict):
        # All jobs: those that the variable lists.
        without = "allValue" if tree.get("name") == "job" and "allValue" in tree else ""
        return {key: _with_names(value) for key, value in tree.items() if key != without}
    if isinstance(tree, list):
        return [_with_names(each) for each in tree]
    if isinstance(tree, str):
        named = _renamed(tree.replace(MAP_METRICS, _MAP_METRICS))
        return _ADDRESS.sub(rf"\g<0>{_SUFFIX}", named)
    return tree


def _renamed(text: str) -> str:
    return _IN_PROMETHEUS.sub(lambda match: _names().get(match[0], match[0]), text)


@cache
def _names() -> Mapping[str, str]:
    """Return the receiver's name for each name that our Collector gives."""
    names = {
        f"xdp_{name.replace('.', '_')}": receiver_name(name, unit, kind) for name, unit, kind in _metrics()
    }
    return {**names, "xdp_target_info": "target_info"}


def _metrics() -> Iterator[tuple[str, str, str]]:
    """Yield name, unit and kind of each metric that dashboards and rules may ask for."""
    for metric in SELF_METRICS.values():
        yield metric.name, metric.unit, metric.kind
    for path in _PROFILES.glob("*.yaml"):
        for each in yaml.safe_load(path.read_text())["metrics"]:
            yield each["name"], each["unit"], each.get("kind", "counter")
