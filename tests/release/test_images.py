# SPDX-License-Identifier: Apache-2.0
"""The images of `make release`, read, loaded and run: `make test-release`."""

import json
import os
import re
import subprocess
import sys

import pytest

from demo.processes import ROOT
from release.architectures import ARCHITECTURES, MACHINES, of_this_machine
from sidecar import __version__
from tests.release.conftest import CRANE, PLACE
from tests.release.layout import Layout
from tests.release.roots import run, run_in

DIST = ROOT / "dist"
LABEL = "org.opencontainers.image."

# What handles bytes and calls C, where a machine could differ. The rest of tests/unit needs a shell, other
# users or files of the checkout; its properties need numpy.random, and more time than emulation leaves.
EMULATED = (
    *("counts", "describe/test_btf.py", "describe/test_layout.py", "otlp/test_encode.py"),
    *("otlp/test_split.py", "kernel/test_library_log.py", "kernel/test_map_kinds.py"),
)


@pytest.fixture(scope="module")
def sidecar():
    return Layout(DIST / f"xdp-otel-{__version__}.oci.tar")


@pytest.fixture(scope="module")
def collector():
    return Layout(DIST / f"otelcol-xdp-{__version__}.oci.tar")


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Return podman with a storage of its own, in which both images are loaded."""
    storage = tmp_path_factory.mktemp("storage")
    command = (os.environ["CONTAINER_TOOL"], f"--root={storage}/root", f"--runroot={storage}/run")
    for name in ("xdp-otel", "otelcol-xdp"):
        run(*command, "load", "--input", DIST / f"{name}-{__version__}.oci.tar")
    yield command
    run(*command, "rmi", "--all", "--force")
    # Else its mount stays.
    subprocess.run(("umount", f"{storage}/root/overlay"), check=False, capture_output=True)


@pytest.fixture(params=("sidecar", "collector"))
def image(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_says_what_it_is_and_does_not_run_as_root(image, architecture):
    assert tuple(image.manifests) == ARCHITECTURES
    found = image.config(architecture)
    assert (found["os"], found["architecture"]) == ("linux", architecture)
    assert found["config"]["User"] == "65532:65532"
    labels = found["config"]["Labels"]
    assert labels.pop(f"{LABEL}source", "") == os.environ.get("SOURCE_URL", "")
    names = ("title", "description", "licenses", "version", "revision", "created")
    assert set(labels) == {LABEL + name for name in names}
    assert labels[f"{LABEL}version"] == __version__
    assert re.fullmatch("[0-9a-f]{40}", labels[f"{LABEL}revision"])
    reference = image.entry["annotations"][f"{LABEL}ref.name"]
    assert reference.endswith(f"{labels[f'{LABEL}title']}:{__version__}")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_files_have_one_time_and_no_builder(image, architecture):
    entries = list(image.files(architecture))
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert len({entry.mtime for entry in entries}) == 1
    assert {(entry.uname, entry.gname) for entry in entries} == {("", "")}
    owned = {entry.name for entry in entries if entry.uid or entry.gid}
    assert owned <= {"var/lib/xdp-otel"}
    assert not [entry.name for entry in entries if re.search(r"\.log$|(^|/)(cache|pip|apt)(/|$)", entry.name)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_list_of_parts_is_what_the_image_has_with_its_licences(sidecar, architecture):
    names = set(sidecar.files(architecture).getnames())
    document = DIST / f"xdp-otel-{__version__}-linux-{architecture}.cdx.json"
    parts = json.loads(document.read_text())["components"]
    debian = {part["name"] for part in parts if part["purl"].startswith("pkg:deb/debian/")}
    assert {"libbpf1", "libc6", "libssl3", "libstdc++6"} < debian
    assert all(f"usr/share/doc/{name}/copyright" in names for name in debian)
    assert {name.rpartition("/")[2] for name in names if "/status.d/" in name} == debian

    found = {
        part["name"].lower().replace("_", "-"): part["version"]
        for part in parts
        if part["purl"].startswith("pkg:pypi/")
    }
    assert found.pop("xdp-otel") == __version__
    assert found.items() <= _pinned()
    # numpy is pinned twice, once for Python 3.10.
    assert set(found) == {name for name, _ in _pinned()}
    licensed = {name.split("/")[4] for name in names if re.search(r"dist-info/.*LICEN[CS]E", name)}
    assert licensed == {name.split("/")[4] for name in names if name.endswith(".dist-info/METADATA")}


def _pinned():
    text = (ROOT / "requirements.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+)==([\w.]+)", text, re.MULTILINE))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_collector_has_the_licences_of_its_parts(collector, architecture):
    names = set(collector.files(architecture).getnames())
    document = DIST / f"otelcol-xdp-{__version__}.cdx.json"
    parts = json.loads(document.read_text())["components"]
    documents = [name for name in names if name.startswith("usr/share/doc/otelcol-xdp/")]
    assert all(any(f"/{part['name']}/" in name for name in documents) for part in parts)


def test_a_registry_gets_the_index_as_it_is(image, registry, tmp_path):
    """As .github/workflows/release.yml pushes it."""
    title = image.config(of_this_machine())["config"]["Labels"][f"{LABEL}title"]
    run("tar", "--extract", "--file", DIST / f"{title}-{__version__}.oci.tar", "--directory", tmp_path)
    run(CRANE, "push", "--insecure", tmp_path, f"{registry}/{title}:{__version__}")
    digest = run(CRANE, "digest", "--insecure", f"{registry}/{title}:{__version__}").strip()
    assert digest == image.entry["digest"]


def test_podman_runs_them_without_any_right(podman):
    flags = ("--rm", "--read-only", "--cap-drop=all", "--network=none")
    said = run(*podman, "run", *flags, f"{PLACE}/xdp-otel:{__version__}", "--version")
    assert said == f"xdp-otel {__version__}\n"
    config = "--config=/etc/otelcol-xdp/config.yaml"
    run(*podman, "run", *flags, f"{PLACE}/otelcol-xdp:{__version__}", "validate", config)


def test_the_sidecar_checks_and_finds_maps_from_its_image(podman):
    flags = ("--rm", "--privileged", "--user=0", "--network=none", "--volume=/sys/fs/bpf:/sys/fs/bpf")
    sidecar = (*podman, "run", *flags, f"{PLACE}/xdp-otel:{__version__}")
    assert "attach" in run(*sidecar, "discover")
    assert run(*sidecar, "check", "--interface=lo", "--no-endpoint").endswith("\nOK\n")


@pytest.fixture
def emulated(sidecar, tmp_path):
    """Unpack the image of the other architecture, with pytest and the tests; return it and the root."""
    (architecture,) = set(ARCHITECTURES) - {of_this_machine()}
    with sidecar.files(architecture) as files:
        files.extractall(tmp_path, filter="tar")
    (python,) = (tmp_path / "usr/bin").glob("python3.*")
    wheels = [f"--platform=manylinux_2_{minor}_{MACHINES[architecture]}" for minor in (28, 17)]
    version = f"--python-version={python.name.removeprefix('python')}"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", tmp_path / "tools")
    pinned = ("--constraint", ROOT / "constraints.txt", "--only-binary=:all:")
    run(*pip, *pinned, version, *wheels, "pytest", "pytest-timeout", "hypothesis")
    (tmp_path / "src").mkdir()
    for name in ("tests", "demo", "pyproject.toml"):
        run("cp", "--recursive", ROOT / name, tmp_path / "src")
    return architecture, tmp_path


@pytest.mark.timeout(900)
def test_the_other_architecture_passes_unit_tests(emulated):
    architecture, root = emulated
    env = {**os.environ, "PYTHONPATH": "/tools", "PYTHONDONTWRITEBYTECODE": "1"}
    assert run_in(root, architecture, "/usr/bin/xdp-otel", "--version") == f"xdp-otel {__version__}\n"
    tests = [f"/src/tests/unit/{each}" for each in EMULATED]
    which = ("-m", "not hypothesis", "--kernel=off")
    how = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--config-file=/src/pyproject.toml")
    said = run_in(root, architecture, "/usr/bin/python3", *how, *which, *tests, env=env)
    assert re.search(r"^\d{3} passed", said, re.MULTILINE), said
