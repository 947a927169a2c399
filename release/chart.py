# SPDX-License-Identifier: Apache-2.0
"""The Helm chart as an archive: its images are those of the release, and Artifact Hub finds what it shows."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from demo.processes import ROOT
from release import links
from release.commands import run
from sidecar import __version__

_SPDX = "# SPDX-License-Identifier: Apache-2.0\n"
# The kinds of change that Artifact Hub knows, by the headings of Keep a Changelog.
_KINDS = ("added", "changed", "deprecated", "fixed", "removed", "security")


def build(dist: Path, registry: str, source: str) -> Path:
    """
    Pack the chart and return the archive.

    With *registry*, its images are REGISTRY/xdp-otel and REGISTRY/otelcol-xdp. *source* is the URL of the
    repository, on GitHub or with its paths; without it the chart has no links and no icon.
    """
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "xdp-otel"
        shutil.copytree(ROOT / "helm", copy)
        values = copy / "values.yaml"
        if registry:
            values.write_text(_with_registry(values.read_text(), registry))
        if source:
            readme = copy / "README.md"
            readme.write_text(links.absolute(readme.read_text(), "helm", source))
        chart = copy / "Chart.yaml"
        described = describe(
            yaml.safe_load(chart.read_text()), yaml.safe_load(values.read_text()), _changelog(), source
        )
        chart.write_text(_SPDX + yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=120))
        # Helm stores the times of the files.
        when = int(os.environ["SOURCE_DATE_EPOCH"])
        for path in (copy, *copy.rglob("*")):
            os.utime(path, (when, when))
        run(os.environ.get("HELM", "helm"), "package", copy, "--destination", dist)
    return dist / f"xdp-otel-{__version__}.tgz"


def describe(chart: dict[str, Any], values: dict[str, Any], changelog: str, source: str) -> dict[str, Any]:
    """
    Return the contents of Chart.yaml with what only a release knows.

    The annotations: https://artifacthub.io/docs/topics/annotations/helm.
    """
    annotations = {
        **chart["annotations"],
        "artifacthub.io/prerelease": str("-" in chart["version"]).lower(),
        "artifacthub.io/images": _text([*_images(values)]),
        "artifacthub.io/changes": _text([*_changes(changelog, chart["version"])]),
    }
    if not source:
        return {**chart, "annotations": annotations}
    tag = f"v{chart['version']}"
    pages = {
        "Installation": "docs/install-kubernetes.md",
        "Upgrading": "helm/UPGRADING.md",
        "Security": "SECURITY.md",
    }
    links = [{"name": name, "url": f"{source}/blob/{tag}/{path}"} for name, path in pages.items()]
    return {
        **chart,
        "home": source,
        "sources": [source],
        "maintainers": [{**each, "url": source} for each in chart["maintainers"]],
        "icon": f"{source}/raw/{tag}/docs/images/icon.svg",
        "annotations": {**annotations, "artifacthub.io/links": _text(links)},
    }


def _with_registry(values: str, registry: str) -> str:
    """Return the text of values.yaml with the images that `make images` tags localhost/NAME in *registry*."""
    host, _, path = registry.partition("/")
    prefix = f"{path}/" if path else ""
    values = values.replace("registry: localhost\n", f"registry: {host}\n")
    return re.sub(r"(repository: )((?:xdp-otel|otelcol-xdp)\n)", rf"\g<1>{prefix}\2", values)


def _images(values: dict[str, Any]) -> Iterator[dict[str, str]]:
    for part in ("sidecar", "collector", "prometheus", "grafana"):
        image = values[part]["image"]
        name = f"{image['registry']}/{image['repository']}:{image['tag'] or __version__}"
        yield {"name": image["repository"].rpartition("/")[2], "image": name}


def _changes(changelog: str, version: str) -> Iterator[dict[str, str]]:
    """Yield the entries of *version*, or of what is not released yet if it has none."""
    sections = re.split(r"^## \[(.+?)\].*\n", changelog, flags=re.MULTILINE)
    by_version = dict(zip(sections[1::2], sections[2::2], strict=True))
    kind = ""
    for line in by_version.get(version, by_version["Unreleased"]).splitlines():
        if line.startswith("### "):
            kind = line.removeprefix("### ").lower()
        elif line.startswith("- ") and kind in _KINDS:
            yield {"kind": kind, "description": line.removeprefix("- ")}


def _changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text()


def _text(value: list[dict[str, str]]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
