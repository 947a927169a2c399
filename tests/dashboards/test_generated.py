# SPDX-License-Identifier: Apache-2.0
"""The committed dashboards are up to date and conform to Grafana's published types."""

import copy
import json
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml

SCHEMA = "tests/dashboards/schema/dashboard.schema.json"
BUILT_IN = {"__rate_interval", "__range", "datasource"}


def panels(dashboard, kind=None):
    return [
        panel for panel in dashboard["panels"] if panel["type"] != "row" and kind in (None, panel["type"])
    ]


def expressions(dashboard):
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def problems(root, dashboard):
    schema = json.loads((root / SCHEMA).read_text())
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(dashboard)]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="grafana-foundation-sdk needs Python 3.11")
def test_the_committed_files_are_up_to_date():
    """`make dashboards` would change nothing, and the generated directories contain no other files."""
    from dashboards.files import generated  # noqa: PLC0415

    files = dict(generated())

    assert [] == [path.name for path, text in files.items() if path.read_text() != text]
    assert set(files) == {
        path
        for directory in {path.parent for path in files}
        for path in directory.iterdir()
        if path.is_file()
    }


def test_the_chart_has_the_same_dashboards_and_rules(root):
    """The chart's copies are identical."""
    for ours, charts in (("deploy/grafana/dashboards", "dashboards"), ("deploy/prometheus/rules", "alerts")):
        expected = {path.name: path.read_bytes() for path in (root / ours).iterdir() if path.is_file()}

        assert expected == {path.name: path.read_bytes() for path in (root / "helm" / charts).iterdir()}


def test_a_dashboard_conforms_to_grafanas_types(root, dashboard):
    """By the types of Grafana 13, no setting is unknown, missing or of the wrong type."""
    assert [] == problems(root, dashboard)


@pytest.mark.parametrize(
    ("at", "key", "value"),
    [
        ((), "titel", "a key that is not there"),
        (("panels", 1), "type", "timeserie"),
        (("panels", 1, "fieldConfig", "defaults"), "units", "pps"),
        (("panels", 1, "options"), "graphMode", "mountain"),
        (("panels", 1, "targets", 0), "exp", "up"),
        (("templating", "list", 1), "refresh", 7),
        (("links", 0), "keepTime", "yes"),
    ],
)
def test_a_violation_of_grafanas_types_is_detected(root, at, key, value):
    """A misspelt key or value anywhere in a dashboard makes the check above fail."""
    dashboard = json.loads((root / "deploy/grafana/dashboards/xdp-overview.json").read_text())
    broken = copy.deepcopy(dashboard)
    place = broken
    for step in at:
        place = place[step]
    place[key] = value

    assert [] == problems(root, dashboard)
    assert [] != problems(root, broken)


def test_every_query_is_promql(root, dashboard, promtool, tmp_path):
    """Prometheus' own parser accepts every query of every panel."""
    found = expressions(dashboard)
    filled = [re.sub(r"\$(__rate_interval|__range)", "1m", expr) for expr in found]
    filled = [re.sub(r"\$(metric|label)\b", "some_name", expr) for expr in filled]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(filled)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)

    assert 0 == checked.returncode, checked.stderr
    assert f"{len(found)} rules found" in checked.stdout


def test_a_dashboard_defines_the_variables_that_it_uses(dashboard):
    """Each `$name` is a variable of the dashboard, and a variable comes after those it depends on."""
    known = set(BUILT_IN)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            assert set(re.findall(r"\$(\w+)", variable["query"])) <= known
        known.add(variable["name"])

    for text in (*expressions(dashboard), *(panel["title"] for panel in panels(dashboard))):
        assert set(re.findall(r"\$(\w+)", text)) <= known


def test_no_panel_breaks_while_a_resource_changes(dashboard):
    """Each join picks one node per sidecar, even while it has two xdp_target_info series."""
    one = "topk by (job, instance) (1, group by (job, instance, host_name) (xdp_target_info{"

    for expr in expressions(dashboard):
        assert expr.count("xdp_target_info") == expr.count(one)


def test_a_panel_is_described(dashboard):
    """Each panel has a title, a description and a unit, and a legend if it can have several lines."""
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        if panel["type"] in ("timeseries", "stat", "bargauge"):
            assert panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] in ("timeseries", "bargauge"):
            assert all(target["legendFormat"] for target in panel["targets"])


def test_a_table_renames_all_its_columns(dashboard):
    """No table shows a column under the name that Prometheus or Grafana gives it."""
    for panel in panels(dashboard, "table"):
        renamed = panel["transformations"][1]["options"]["renameByName"]
        count = len(panel["targets"])
        values = ["Value"] if count == 1 else [f"Value #{target['refId']}" for target in panel["targets"]]

        assert values == sorted(name for name in renamed if name.startswith("Value"))
        for target in panel["targets"]:
            labels = set(re.search(r"sum by \(([^)]*)\)", target["expr"])[1].split(", "))
            assert labels - {"$label"} == {name for name in renamed if not name.startswith("Value")}


def test_panels_do_not_overlap(dashboard):
    """No two panels overlap, and none is wider than the page."""
    covered = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & covered
        covered |= cells
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers))


def test_dashboards_link_to_each_other(root, dashboard):
    """Each links to all others, and every link leads to an existing dashboard."""
    files = {path.stem for path in (root / "deploy/grafana/dashboards").iterdir()}

    assert dashboard["uid"] in files
    assert dashboard["tags"] == dashboard["links"][0]["tags"] == ["xdp"]
    assert set(re.findall(r'"/d/([\w-]+)', json.dumps(dashboard))) <= files
    assert ("browser", "30s") == (dashboard["timezone"], dashboard["refresh"])


def test_one_grafana_can_have_the_dashboards_without_collector_too(root):
    """No uid, title or tag is that of another dashboard, and links stay among them."""
    ours, others = (
        [json.loads(path.read_text()) for path in (root / place / "dashboards").iterdir()]
        for place in ("deploy/grafana", "deploy/without-collector")
    )
    for key in ("uid", "title"):
        assert len({each[key] for each in ours + others}) == len(ours) + len(others) == 9
    for each in others:
        assert each["tags"] == each["links"][0]["tags"] != ours[0]["tags"]
    linked = set(re.findall(r"/d/([\w-]+)", json.dumps(others)))
    assert set() < linked <= {each["uid"] for each in others}


def test_colours_are_those_of_the_alerts(root):
    """A panel is red once the alert about its number fires."""
    found = yaml.safe_load((root / "deploy/prometheus/rules/xdp-alerts.yml").read_text())
    alerts = {rule["alert"]: rule["expr"] for group in found["groups"] for rule in group["rules"]}
    late = float(alerts["XdpUnacknowledged"].split(">")[-1])
    overview = json.loads((root / "deploy/grafana/dashboards/xdp-overview.json").read_text())
    steps = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for panel in panels(overview)
    }

    for title in ("Last delivery", "Age of the last delivery"):
        assert {"color": "red", "value": late} in steps[title]
    assert {"color": "red", "value": 1.0} in steps["Critical alerts"]
    silent = next(panel for panel in panels(overview) if panel["title"] == "Silent nodes")
    assert re.search(r"increase\(.*?\[(\w+)\]", silent["targets"][0]["expr"])[1] in alerts["XdpSidecarSilent"]


def test_the_picture_shows_panels_of_the_overview(root):
    """Each title that it draws is one of the dashboard's."""
    pytest.importorskip("matplotlib", reason="of the extra `pictures`")
    pytest.importorskip("grafana_foundation_sdk", reason="it needs Python 3.11")
    from dashboards.picture import PANELS, STATES  # noqa: PLC0415

    overview = json.loads((root / "deploy/grafana/dashboards/xdp-overview.json").read_text())

    assert {*PANELS, *STATES} <= {panel["title"] for panel in panels(overview)}
