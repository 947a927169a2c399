# SPDX-License-Identifier: Apache-2.0
"""The chart as it is released: an archive, and an OCI artefact."""

import hashlib
import json
import os
import tarfile

import pytest
import yaml

from release import chart, chart_oci
from tests.chart.chart import ROOT, helm

REGISTRY, SOURCE = "registry.example:5000/team/net", "https://git.example/net/xdp-otel"
CHANGELOG = """\
## [Unreleased]

### Added

- Not yet.

## [1.2.0] - 2026-11-29

### Changed

- One `thing`: differently.
- Another.

### Fixed

- A third.

## [1.1.0] - 2026-11-01
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Build archive and artefact twice, the same bytes; return their paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1790000000")
        patch.setenv("HELM", os.environ.get("HELM") or str(max((ROOT / ".build/bin").glob("helm-v*"))))
        first, second = (_build(tmp_path_factory.mktemp("dist")) for _ in range(2))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    return first


def _build(dist):
    archive = chart.build(dist, REGISTRY, SOURCE)
    return archive, chart_oci.build(dist, archive)


@pytest.fixture(scope="module")
def described(released):
    with tarfile.open(released[0]) as tar:
        return yaml.safe_load(tar.extractfile("xdp-otel/Chart.yaml"))


def test_the_images_are_those_of_the_release(released, described):
    """The archive renders the images that it lists, and a mirror replaces their registry only."""
    listed = {one["image"] for one in yaml.safe_load(described["annotations"]["artifacthub.io/images"])}
    done = helm("template", "xdp", str(released[0]))
    assert {f"image: {image}" in done.stdout for image in listed} == {True}, done.stderr
    assert f"image: {REGISTRY}/otelcol-xdp:" in done.stdout
    done = helm("template", "xdp", str(released[0]), "--set=global.imageRegistry=mirror")
    assert "image: mirror/team/net/otelcol-xdp:" in done.stdout


def test_what_the_chart_links_to_is_there(described):
    """Icon and links are files of this checkout, at the tag of the release."""
    assert (described["home"], described["sources"]) == (SOURCE, [SOURCE])
    links = [one["url"] for one in yaml.safe_load(described["annotations"]["artifacthub.io/links"])]
    for url in (described["icon"], *links):
        kind, tag, path = url.removeprefix(f"{SOURCE}/").split("/", 2)
        assert (kind in ("raw", "blob"), tag) == (True, f"v{described['version']}")
        assert (ROOT / path).is_file(), path


def test_lint(released):
    """Helm has nothing to say about it: no icon is missing."""
    done = helm("lint", "--strict", str(released[0]))
    assert (done.returncode, "[INFO]" in done.stdout) == (0, False), done.stdout


@pytest.mark.parametrize(
    ("version", "changes"),
    [
        ("1.2.0", [("changed", "One `thing`: differently."), ("changed", "Another."), ("fixed", "A third.")]),
        ("2.0.0-rc.1", [("added", "Not yet.")]),
    ],
)
def test_changes(version, changes):
    """The changes are those of the changelog for this version, or those that are not released yet."""
    values = yaml.safe_load((ROOT / "helm/values.yaml").read_text())
    found = chart.describe({"version": version, "annotations": {}}, values, CHANGELOG, "")
    listed = yaml.safe_load(found["annotations"]["artifacthub.io/changes"])
    assert [(one["kind"], one["description"]) for one in listed] == changes
    assert found["annotations"]["artifacthub.io/prerelease"] == str("-" in version).lower()
    assert not {"home", "sources", "icon"} & set(found), "no link to what is published nowhere"


def test_oci_layout(released, described):
    """Each blob has the digest and size that name it; the layer is the archive, the config its Chart.yaml."""
    with tarfile.open(released[1]) as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar.getmembers()}

    def blob(descriptor):
        algorithm, digest = descriptor["digest"].split(":")
        content = files[f"blobs/{algorithm}/{digest}"]
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, descriptor["size"])
        return content

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == described["version"]
    manifest = json.loads(blob(entry))
    assert json.loads(blob(manifest["config"])) == described
    assert [blob(layer) for layer in manifest["layers"]] == [released[0].read_bytes()]
