# SPDX-License-Identifier: Apache-2.0
"""The rendered chart against golden files, Kubernetes' schemas and the files beside the templates."""

import json
import re

import kubernetes_validate
import pytest
import yaml

from tests.chart.chart import CASES, CHART, COPIES, GOLDEN, golden, helm, one, render

# The oldest Kubernetes of Chart.yaml and the newest with available schemas.
VERSIONS = ("1.26", "1.37")
# Objects of the Prometheus operator, which Kubernetes has no schemas for.
OPERATOR = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
# Of the Gateway API, and of OpenShift.
OTHERS = ("HTTPRoute", "SecurityContextConstraints")


@pytest.mark.parametrize("case", CASES)
def test_golden(renders, case):
    """Every change of the rendered chart shows in a golden file; `make goldens` rewrites them."""
    assert (GOLDEN / f"{case}.yaml").read_text() == golden(case, renders[case], renders["default"])


def test_no_golden_without_case():
    """Every golden file belongs to a case."""
    assert sorted(path.stem for path in GOLDEN.glob("*.yaml")) == sorted(CASES)


@pytest.mark.parametrize("source", COPIES, ids=lambda path: path.name)
def test_copies(source):
    """The Collector configurations in the chart are those of collector/; `make goldens` copies them."""
    assert COPIES[source].read_text() == source.read_text()


@pytest.mark.parametrize("case", CASES)
def test_lint(case):
    """`helm lint --strict` accepts the chart with the values of every case."""
    done = helm("lint", "--strict", "helm", *CASES[case])
    assert (done.returncode, "1 chart(s) linted, 0 chart(s) failed" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_schemas(renders, case, version):
    """Every object passes the strict schemas of the oldest and the newest Kubernetes."""
    for it in renders[case]:
        if it["kind"] not in OPERATOR + OTHERS:
            kubernetes_validate.validate(it, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_operator_objects(renders, case):
    """Monitors name ports of the pods or Services that they select, and the rules have groups."""
    for it in renders[case]:
        if it["kind"] == "PrometheusRule":
            assert [group["name"] for group in it["spec"]["groups"]]
        elif it["kind"] in OPERATOR:
            ends = it["spec"].get("podMetricsEndpoints") or it["spec"]["endpoints"]
            there = {
                port["name"]
                for other in renders[case]
                if other["kind"] == "Service"
                for port in other["spec"]["ports"]
            }
            assert {end["port"] for end in ends} <= there
            assert {end["relabelings"][0]["replacement"] for end in ends} <= {"xdp", "otel-collector"}


def test_fits_into_a_configmap(renders):
    """No ConfigMap exceeds Kubernetes' limit (1 MiB)."""
    assert max(len(json.dumps(it)) for it in renders["stack"] if it["kind"] == "ConfigMap") < 1 << 20


def test_every_value_is_used():
    """Every value is read by a template."""
    templates = "".join(path.read_text() for path in CHART.glob("templates/**/*.*"))
    through = re.compile(r"resources|annotations|labels|securityContext|seccompProfile|Probe$|nodeSelector")

    def leaves(values):
        for name, value in values.items():
            if isinstance(value, dict) and value and not through.search(name):
                yield from leaves(value)
            else:
                yield name

    unread = {
        name
        for name in leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
        if f".{name}" not in templates
    }
    assert unread == set()


def test_alerts_and_dashboards(renders):
    """The files in alerts/ and dashboards/ reach Prometheus, Grafana and the operator."""
    rules, dashboards = sorted(CHART.glob("alerts/*")), sorted(CHART.glob("dashboards/*"))
    assert sorted(one(renders["default"], "ConfigMap", "xdp-xdp-otel-rules")["data"]) == [
        path.name for path in rules
    ]
    shipped = one(renders["default"], "ConfigMap", "xdp-xdp-otel-dashboards")["data"]
    assert shipped == {path.name: path.read_text() for path in dashboards}
    groups = [group for path in rules for group in yaml.safe_load(path.read_text())["groups"]]
    assert one(renders["stack"], "PrometheusRule")["spec"]["groups"] == groups
    labels = one(renders["stack"], "ConfigMap", "xdp-xdp-otel-dashboards")["metadata"]["labels"]
    assert labels["grafana_dashboard"] == "1"


def test_runbooks():
    """`alerts.runbookUrl` is the URL of the runbook in every alert, in either Prometheus."""
    url = "https://git.example.com/net/xdp-otel/blob/main/docs/dashboards-and-alerts.md"
    arguments = [f"--set=alerts.runbookUrl={url}", "--set=monitoring.prometheusRule.enabled=true"]
    shipped = (CHART / "alerts/xdp-alerts.yml").read_text()
    expected = shipped.replace("docs/dashboards-and-alerts.md#", f"{url}#")
    objects = render(*arguments)

    assert expected.count(url) == shipped.count("- alert: ")
    assert one(objects, "ConfigMap", "xdp-xdp-otel-rules")["data"]["xdp-alerts.yml"] == expected
    groups = yaml.safe_load(expected)["groups"]
    assert one(objects, "PrometheusRule")["spec"]["groups"][: len(groups)] == groups


def test_secrets_are_random():
    """Every release gets its own Grafana password and certificate keys."""
    arguments = ["--set=tls.enabled=true"]
    drawn = [[it["data"] for it in render(*arguments) if it["kind"] == "Secret"] for _ in range(2)]
    keys = ("tls.key", "tls.key", "admin-password")
    assert len(drawn[0]) == len(keys)
    for first, second in zip(*drawn, strict=True):
        (key,) = {"tls.key", "admin-password"} & set(first)
        assert first[key] != second[key]
