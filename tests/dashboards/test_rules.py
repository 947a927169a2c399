# SPDX-License-Identifier: Apache-2.0
"""Rules: Prometheus accepts them; each alert fires only when it should and has a runbook."""

import json
import re
import subprocess

import pytest
import yaml

RULES = "deploy/prometheus/rules"
RUNBOOK = "docs/dashboards-and-alerts.md"


def rules(root, kind):
    files = (root / RULES).glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def cases(root):
    for file in (root / RULES / "tests").glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                yield case["alertname"], bool(case["exp_alerts"])


def check(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("directory", ["prometheus", "without-collector"])
def test_prometheus_accepts_the_configuration_and_all_rules(root, promtool, directory):
    """promtool accepts the shipped configuration and its rule files."""
    file = root / "deploy" / directory / "prometheus.yml"
    code, said = check(promtool, "check", "config", "--lint=all", file)

    assert 0 == code, said
    assert "2 rule files found" in said


def test_alerts_pass_their_unit_tests(root, promtool):
    """On synthetic series, each alert fires when it should and not before, with the right text."""
    code, said = check(promtool, "test", "rules", *(root / RULES / "tests").glob("*.yml"))

    assert 0 == code, said


def test_every_alert_is_tested_both_ways(root):
    """Each has a case in which it fires and one in which it does not."""
    tested = set(cases(root))

    assert tested == {(name, fires) for name in rules(root, "alert") for fires in (True, False)}


def test_a_broken_rule_is_noticed(root, promtool, tmp_path):
    """Each alert's unit tests fail if its condition is never true, so they cannot pass vacuously."""
    (tmp_path / "tests").mkdir()
    for file in (root / RULES / "tests").glob("*.yml"):
        (tmp_path / "tests" / file.name).write_text(file.read_text())
    (tmp_path / "xdp-recording.yml").write_text((root / RULES / "xdp-recording.yml").read_text())
    alerts = yaml.safe_load((root / RULES / "xdp-alerts.yml").read_text())
    for group in alerts["groups"]:
        for rule in group["rules"]:
            rule["expr"] = f"({rule['expr']}) and vector(0) == 1"
    (tmp_path / "xdp-alerts.yml").write_text(json.dumps(alerts))

    code, said = check(promtool, "test", "rules", *(tmp_path / "tests").glob("*.yml"))

    assert 0 != code
    failed = set(re.findall(r"alertname: (\w+)", said))
    assert failed == set(rules(root, "alert"))


def anchors(text):
    """Return the anchors of a document's headings, as GitHub, GitLab and MkDocs derive them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_anchor_of_each_runbook_url_exists(root):
    """The URL is the document's, and the document has such a heading, exactly once."""
    found = anchors((root / RUNBOOK).read_text())

    for name, alert in rules(root, "alert").items():
        document, anchor = alert["annotations"]["runbook_url"].split("#")
        assert (document, found.count(anchor)) == (RUNBOOK, 1), name


def test_the_runbooks_url_is_a_variable(root, promtool, tmp_path):
    """With RUNBOOK_URL each alert, and what its unit tests expect, has that URL; Prometheus accepts them."""
    pytest.importorskip("grafana_foundation_sdk", reason="it needs Python 3.11")
    from dashboards.alerts import RUNBOOK as DEFAULT  # noqa: PLC0415
    from dashboards.alerts import with_runbook  # noqa: PLC0415

    url = "https://wiki.example.com/xdp/alerts"
    for path in (root / RULES).rglob("*.yml"):
        copy = tmp_path / path.relative_to(root / RULES)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(with_runbook(path.read_text(), url))
        assert with_runbook(copy.read_text(), DEFAULT) == path.read_text()
    alerts = yaml.safe_load((tmp_path / "xdp-alerts.yml").read_text())
    urls = [rule["annotations"]["runbook_url"] for group in alerts["groups"] for rule in group["rules"]]

    assert urls == [f"{url}#{name.lower()}" for name in rules(root, "alert")]
    code, said = check(promtool, "test", "rules", *(tmp_path / "tests").glob("*.yml"))
    assert 0 == code, said


def test_what_is_no_url_is_refused(monkeypatch):
    """Before anything is written, in one line."""
    pytest.importorskip("grafana_foundation_sdk", reason="it needs Python 3.11")
    from dashboards.files import generated  # noqa: PLC0415

    for wrong in ("wiki.example.com/xdp", "https://wiki.example.com/xdp#", "https://wiki example.com"):
        monkeypatch.setenv("RUNBOOK_URL", wrong)
        with pytest.raises(SystemExit, match="cannot use RUNBOOK_URL"):
            list(generated())


def test_an_alert_has_a_severity_and_a_runbook(root):
    """Each has a severity, a summary, a description and an existing runbook section."""
    headings = re.findall(r"^### (\w+)$", (root / RUNBOOK).read_text(), re.MULTILINE)
    alerts = rules(root, "alert")

    for name, alert in alerts.items():
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
    assert sorted(headings) == sorted(alerts)


@pytest.mark.parametrize("kind", ["alert", "record"])
def test_the_document_names_every_rule(root, kind):
    """No rule is undocumented."""
    text = (root / RUNBOOK).read_text()

    assert [] == [name for name in rules(root, kind) if name not in text]
