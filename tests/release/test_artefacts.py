# SPDX-License-Identifier: Apache-2.0
"""What `make release` has built, used where there is no checkout and no compiler: `make test-release`."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv

import pytest
import yaml

from demo.processes import ROOT
from release.architectures import ARCHITECTURES
from sidecar import __version__
from tests.release.conftest import PLACE
from tests.release.roots import run, run_in

DIST = ROOT / "dist"

# In namespaces of its own: the wheel's program counts two frames, the archive's Collector serves the count.
_FIRST_MINUTE = """
set -eu
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /var/lib
ip link set lo up
ip link add eth0 type veth peer name peer0
echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/peer0/disable_ipv6
ip link set eth0 up
ip link set peer0 up
xdp-otel discover
xdp-otel attach --interface eth0
otelcol-xdp --config "$COLLECTOR/config.yaml" 2> "$LOG" &
collector=$!
trap 'kill $collector' EXIT
python - <<'FRAMES'
import socket
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind(("peer0", 0))
    for _ in range(2):
        sender.send(bytes.fromhex("ffffffffffff02aabbcc000188b5").ljust(60, bytes(1)))
FRAMES
xdp-otel dump --interface eth0
xdp-otel --interface eth0 --otel-endpoint none --status-address localhost:9464 &
sidecar=$!
trap 'kill $collector $sidecar' EXIT
python - <<'STATUS'
import time, urllib.request
deadline = time.monotonic() + 60
page = ""
while "packets_total{" not in page and time.monotonic() < deadline:
    time.sleep(0.1)
    try:
        page = urllib.request.urlopen("http://localhost:9464/metrics").read().decode()
    except OSError:
        pass
print(page)
STATUS
kill $sidecar
wait $sidecar
trap 'kill $collector' EXIT
xdp-otel --interface eth0 --once
python -c 'import urllib.request; print(urllib.request.urlopen("http://localhost:8889/metrics").read().decode())'
xdp-otel detach --interface eth0
"""


def one(pattern):
    (path,) = DIST.glob(pattern)
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the wheel by the hashes of requirements.txt, and unpack the Collector; return both places."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory / "venv", with_pip=False)
    pip = (sys.executable, "-m", "pip", "--python", directory / "venv/bin/python", "install", "--quiet")
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements.txt")
    run(*pip, "--no-deps", one("*.whl"))
    with tarfile.open(one("otelcol-xdp-*-amd64.tar.gz")) as archive:
        archive.extractall(directory, filter="data")
    return directory / "venv/bin", directory / f"otelcol-xdp-{__version__}-linux-amd64"


def test_every_file_has_its_checksum():
    sums = dict(line.split()[::-1] for line in (DIST / "SHA256SUMS").read_text().splitlines())
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in DIST.iterdir()}
    del files["SHA256SUMS"]
    assert sums == files
    assert len(files) == 22


def test_wheel_and_collector_count_without_compiler_and_checkout(installed, tmp_path):
    programs, collector = installed
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "ip", "mount", "kill"):
        (tools / name).symlink_to(shutil.which(name))
    env = {
        "PATH": f"{programs}:{collector}:{tools}",
        "COLLECTOR": str(collector),
        "LOG": str(tmp_path / "log"),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
    }
    unshare = shutil.which("unshare")
    output = run(unshare, "--net", "--mount", "sh", "-c", _FIRST_MINUTE, env=env, cwd=tmp_path, timeout=180)
    # By the status page of a sidecar that sends nothing, and by the Collector.
    for name, value in (("packets", 2), ("bytes", 120)):
        found = re.findall(rf"^xdp_xdp_{name}_total\{{.*\}} (\S+)$", output, re.MULTILINE)
        assert found == [str(value)] * 2, output


def test_the_sdist_builds_the_same_wheel(tmp_path):
    with tarfile.open(one("xdp_otel-*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
        when = max(member.mtime for member in archive.getmembers())
    python = ROOT / ".build/release/bin/python"
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(int(when))}
    source = tmp_path / f"xdp_otel-{__version__}"
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source, env=env)
    (built,) = tmp_path.glob("*.whl")
    assert built.read_bytes() == one("*.whl").read_bytes()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_collector_runs_where_there_is_nothing_else_and_brings_its_licences(tmp_path, architecture):
    with tarfile.open(one(f"otelcol-xdp-*-{architecture}.tar.gz")) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    place = f"/otelcol-xdp-{__version__}-linux-{architecture}"
    program = f"{place}/otelcol-xdp"
    components = yaml.safe_load(run_in(tmp_path, architecture, program, "components"))
    assert "delta_to_cumulative" in {each["name"] for each in components["processors"]}
    run_in(tmp_path, architecture, program, "validate", f"--config={place}/config.yaml")
    modules = {each["name"] for each in parts("otelcol-xdp")}
    assert all(any(f"/licenses/{module}/" in name for name in names) for module in modules)


def test_the_lists_of_parts_are_complete():
    pinned = dict(
        re.findall(r"^([a-z0-9-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    )
    found = {each["name"].lower().replace("_", "-"): each["version"] for each in parts("xdp-otel")}
    assert found.pop("xdp-otel") == __version__
    assert found == pinned
    assert all(each.get("licenses") for each in parts("xdp-otel"))
    modules = {each["name"] for each in parts("otelcol-xdp")}
    builder = yaml.safe_load((ROOT / "collector/builder-config.yaml").read_text())
    wanted = [
        each["gomod"].split()[0] for kind in builder.values() if isinstance(kind, list) for each in kind
    ]
    assert set(wanted) <= modules


@pytest.mark.parametrize("path", sorted(DIST.glob("*.cdx.json")), ids=lambda path: path.name)
def test_a_list_of_parts_is_valid(path, tmp_path):
    """By the schema of CycloneDX 1.6; the same without the names of its parts is not."""
    document = json.loads(path.read_text())
    assert _problem(path) == ""
    for each in document["components"]:
        del each["name"]
    nameless = tmp_path / path.name
    nameless.write_text(json.dumps(document))
    assert "'name' is a required property" in _problem(nameless)


_VALIDATE = """
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(sys.argv[1]).read_text()) or "")
"""


def _problem(path):
    """Return what the tools of the release find wrong with a list of parts."""
    return run(ROOT / ".build/release/bin/python", "-c", _VALIDATE, path).strip()


def parts(name):
    return json.loads((DIST / f"{name}-{__version__}.cdx.json").read_text())["components"]


# Wheel and image are installed by pip, DEB and RPM by uv.
@pytest.mark.parametrize(
    "installer",
    [
        (sys.executable, "-m", "pip", "install"),
        (ROOT / ".build/release/bin/uv", "pip", "install", "--no-config"),
    ],
    ids=["pip", "uv"],
)
def test_a_changed_byte_is_refused(tmp_path, installer):
    """Installing by hashes stops at a package that is not the one that was tested."""
    text = (ROOT / "requirements.txt").read_text()
    wrong = re.sub(r"(?<=sha256:)[0-9a-f]", lambda digit: "1" if digit[0] == "0" else "0", text)
    changed = tmp_path / "requirements.txt"
    changed.write_text(wrong)
    how = ("--target", tmp_path / "target", "--require-hashes", "--requirement", changed)
    done = subprocess.run((*installer, *how), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert re.search("do not match the hashes|hash mismatch", done.stderr, re.IGNORECASE), done.stderr
    assert not (tmp_path / "target/grpc").exists()


def test_the_chart_installs_from_its_archive():
    rendered = run(os.environ["HELM"], "template", "xdp", one("xdp-otel-*.tgz"))
    images = set(re.findall(r"image: (\S+/(?:xdp-otel|otelcol-xdp):\S+)", rendered))
    assert images == {f"{PLACE}/{name}:{__version__}" for name in ("xdp-otel", "otelcol-xdp")}
