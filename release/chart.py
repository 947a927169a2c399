# SPDX-License-Identifier: Apache-2.0
"""The Helm chart as an archive whose default images are those of the release."""

import os
import shutil
import tempfile
from pathlib import Path

from demo.processes import ROOT
from release.commands import run

# What `make images` tags, for those who build the images themselves.
_LOCAL = "registry: localhost\n"


def build(dist: Path, registry: str) -> None:
    """Pack the chart; with *registry*, its images are in REGISTRY/xdp-otel and REGISTRY/otelcol-xdp."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "xdp-otel"
        shutil.copytree(ROOT / "helm", copy)
        if registry:
            values = copy / "values.yaml"
            values.write_text(values.read_text().replace(_LOCAL, f"registry: {registry}\n"))
        # Helm stores the times of the files.
        when = int(os.environ["SOURCE_DATE_EPOCH"])
        for path in (copy, *copy.rglob("*")):
            os.utime(path, (when, when))
        run(os.environ.get("HELM", "helm"), "package", copy, "--destination", dist)
