# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md documents every metric."""

import re

import pytest
import yaml

from sidecar.observe.telemetry import Telemetry


@pytest.fixture
def text(root):
    return (root / "docs/metrics.md").read_text()


def test_the_sidecars_own_metrics_are_documented(text):
    """The document lists exactly these, with Prometheus name, kind and labels."""
    rows = dict(re.findall(r"(?m)^\| `(xdp_otel_\w+)` \| (.*)$", text))
    telemetry = Telemetry()
    telemetry.interfaces = lambda: {"attached": 0}
    families = {
        f"xdp_otel_{family.name}" + ("_total" if family.kind == "counter" else ""): family
        for family in telemetry.families()
    }

    assert set(rows) == set(families)
    for name, family in families.items():
        assert rows[name].startswith(family.kind)
        assert all(f"`{label}`" in rows[name] for label in family.labels)


def test_the_profiles_metrics_are_documented(root, text):
    """It lists every metric of every built-in profile with unit and Prometheus name."""
    for profile in (root / "sidecar/describe/profiles").glob("*.yaml"):
        for metric in yaml.safe_load(profile.read_text())["metrics"]:
            in_prometheus = "xdp_" + metric["name"].replace(".", "_")
            (row,) = re.findall(rf"(?m)^\| `{re.escape(metric['name'])}` \|.*$", text)

            assert f"`{in_prometheus}`" in row
            assert f"`{metric['unit']}`" in row
            assert ("gauge" if metric.get("kind") in ("gauge", "rate") else "sum") in row
