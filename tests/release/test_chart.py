# SPDX-License-Identifier: Apache-2.0
"""The chart's OCI artefact in a registry that runs here, where Helm pulls it."""

import json
import os
import tarfile

from sidecar import __version__
from tests.release.conftest import CRANE
from tests.release.test_artefacts import one, run


def test_helm_pulls_the_artefact_from_a_registry(registry, tmp_path):
    """What is copied from the layout into a registry is what `helm push` would have put there."""
    helm, archive = os.environ["HELM"], one("xdp-otel-[0-9]*.tgz")
    with tarfile.open(one("xdp-otel-chart-*.oci.tar")) as layout:
        layout.extractall(tmp_path / "layout", filter="data")
    run(CRANE, "push", "--insecure", tmp_path / "layout", f"{registry}/charts/xdp-otel:{__version__}")
    chart = f"oci://{registry}/charts/xdp-otel"
    run(helm, "pull", chart, "--version", __version__, "--plain-http", "--destination", tmp_path)
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()
    rendered = run(helm, "template", "xdp", chart, "--version", __version__, "--plain-http")
    assert rendered.count("kind: DaemonSet") == 2

    run(helm, "push", archive, f"oci://{registry}/pushed", "--plain-http")
    ours, theirs = (
        json.loads(run(CRANE, "manifest", "--insecure", f"{registry}/{place}/xdp-otel:{__version__}"))
        for place in ("charts", "pushed")
    )
    assert ours["layers"] == theirs["layers"]
    assert ours["config"]["mediaType"] == theirs["config"]["mediaType"]
    # Helm writes the present time, and copies the chart's own annotations.
    created = "org.opencontainers.image.created"
    assert (
        ours["annotations"].items() - {(created, ours["annotations"][created])}
        <= theirs["annotations"].items()
    )
