# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md documents every metric."""

import re

import pytest
import yaml

from sidecar.observe.self_metrics import SELF_METRICS
from sidecar.observe.telemetry import Telemetry
from sidecar.sources.program_stats import ProgramRuns


@pytest.fixture
def text(root):
    return (root / "docs/metrics.md").read_text()


def test_the_sidecars_own_metrics_are_documented(text):
    """The document lists exactly these, with kind, unit, Prometheus name and labels."""
    rows = dict(re.findall(r"(?m)^\| `(xdp\.(?:otel|program)\.[\w.]+)` \| (.*)$", text))

    assert set(rows) == set(SELF_METRICS)
    for name, metric in SELF_METRICS.items():
        assert rows[name].startswith("sum" if metric.kind == "counter" else metric.kind)
        assert f"`xdp_{name.replace('.', '_')}`" in rows[name]
        assert f"`{metric.unit}`" in rows[name]
        assert all(f"`{label}`" in rows[name] for label in metric.labels if "." not in label)


def test_every_self_metric_is_sent():
    """The table has no name that nothing uses."""
    telemetry = Telemetry()
    telemetry.interfaces = lambda: {"attached": 0}
    telemetry.programs = lambda: [ProgramRuns("count", 7, "eth0", 1, 2)]

    assert {family.metric.name for family in telemetry.families()} == set(SELF_METRICS)


def test_the_profiles_metrics_are_documented(root, text):
    """It lists every metric of every built-in profile with unit and Prometheus name."""
    for profile in (root / "sidecar/describe/profiles").glob("*.yaml"):
        for metric in yaml.safe_load(profile.read_text())["metrics"]:
            in_prometheus = "xdp_" + metric["name"].replace(".", "_")
            (row,) = re.findall(rf"(?m)^\| `{re.escape(metric['name'])}` \|.*$", text)

            assert f"`{in_prometheus}`" in row
            assert f"`{metric['unit']}`" in row
            assert ("gauge" if metric.get("kind") in ("gauge", "rate") else "sum") in row
