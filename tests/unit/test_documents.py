# SPDX-License-Identifier: Apache-2.0
"""What can be checked of the documents without typing them: links, and the flag that keeps counts exact."""

import re
from pathlib import Path

import pytest

from sidecar import __version__

ROOT = Path(__file__).parents[2]
_PLACES = ("*.md", "docs/**/*.md", "helm/*.md", "deploy/**/*.md", "bpf/*.md", "collector/*.md")
DOCUMENTS = sorted(file for place in _PLACES for file in ROOT.glob(place))
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
EXPORTS = re.compile(r"^(?:[A-Z_]+=\S+ |sudo |\.venv/bin/)*(xdp-otel (?:run|--(?!help|version)).*)$")


def anchors(document):
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    """Files that are there, and headings in them."""
    for path, anchor in LINK.findall(document.read_text()):
        target = document.parent / path if path else document
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_commands_for_our_collector_carry_the_base_point():
    """A restart of the Collector costs counts without it; to another backend it would add them each time."""
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [(file.name, line.strip()) for file in documents for line in file.read_text().splitlines()]
    found = [(name, match[1].split("#")[0]) for name, line in lines if (match := EXPORTS.match(line))]
    others = [line for name, line in found if name == "other-backends.md"]
    ours = [line for _, line in found if line not in others and "--otel-endpoint none" not in line]

    assert len(ours) >= 4
    assert [line for line in ours if "--base-point" not in line] == []
    assert [line for line in others if "--base-point" in line] == []


def test_the_chart_has_the_version_of_the_sidecar():
    chart = dict(
        re.findall(
            r'^(version|appVersion): "?([^"\n]+)', (ROOT / "helm/Chart.yaml").read_text(), re.MULTILINE
        )
    )
    assert chart == {"version": __version__, "appVersion": __version__}


def test_the_chart_has_the_maintainer_of_the_packages():
    project, chart = ((ROOT / name).read_text() for name in ("pyproject.toml", "helm/Chart.yaml"))
    (maintainer,) = re.findall(r'^maintainers = \[\{ name = "([^"]+)"', project, re.MULTILINE)
    assert re.findall(r"^  - name: (.+)", chart, re.MULTILINE) == [maintainer]
