# SPDX-License-Identifier: Apache-2.0
"""The archives for arm64 under Debian's kernels, on an arm64 CPU that QEMU emulates: `make test-arm64`."""

import json
import os
import shutil
import tarfile

import pytest

from demo import patience
from demo.processes import ROOT
from demo.tap import FIELDS
from sidecar import __version__
from tests.kernels import machine, packages
from tests.kernels.architecture import ARM64

KERNELS = (
    packages.Kernel("arm64-6.1", "bookworm", ARM64),
    packages.Kernel("arm64-6.12", "trixie", ARM64),
)

# What the demo runs beside the released programs, and what a shell needs.
PROGRAMS = ("bpftool", "busybox-static", "iproute2", "kmod", "mount", "util-linux")
LIMIT_S = 1800

pytestmark = pytest.mark.timeout(2 * LIMIT_S)


@pytest.fixture(scope="module", params=KERNELS, ids=lambda kernel: kernel.name)
def report(request, tmp_path_factory):
    """Boot the kernel, let counting_guest.py run there, and return its report."""
    kernel, directory = request.param, tmp_path_factory.mktemp("machine")
    machine.require(kernel.architecture)
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # in the machine, too
    files = packages.unpacked(kernel)
    root, results = directory / "root", directory / "results"
    packages.unpack_programs(kernel, root, *PROGRAMS)
    _install(root)
    results.mkdir()
    guest = "cd /src && exec /opt/xdp-otel/bin/python3 -m tests.release.counting_guest"
    start = ("/bin/sh", "-c", f"export {patience.VARIABLE}=10; {guest}")
    machine.run(kernel, files, start, results=results, limit_s=LIMIT_S, root=root)
    told = results / "report.json"
    assert told.exists(), f"the machine ended early: {(results / 'console').read_text()[-2000:]}"
    return json.loads(told.read_text())


def _install(root):
    """Put the archives into *root*, and a checkout that has nothing but them and what runs there."""
    source = root / "src"
    for name in ("xdp-otel", "otelcol-xdp"):
        top = f"{name}-{__version__}-linux-arm64"
        with tarfile.open(ROOT / f"dist/{top}.tar.gz") as archive:
            archive.extractall(root / "opt", filter="data")
        (root / "opt" / top).rename(root / "opt" / name)
    for command in ("sh", "readlink"):
        (root / "usr/bin" / command).symlink_to("busybox")
    for path in ("demo", "tests/waiting.py", "tests/release/counting_guest.py"):
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / path, source / path)
    for link, target in {
        ".venv/bin/xdp-otel": "/opt/xdp-otel/bin/xdp-otel",
        ".build/bin/otelcol-xdp": "/opt/otelcol-xdp/otelcol-xdp",
        "collector": "/opt/otelcol-xdp",
    }.items():
        (source / link).parent.mkdir(parents=True, exist_ok=True)
        (source / link).symlink_to(target)


def test_the_archive_runs_on_that_kernel(report):
    assert report["machine"] == "aarch64"
    assert report["kernel"].endswith("-arm64")
    assert report["version"] == f"xdp-otel {__version__}\n"
    assert report["check"].endswith("\nOK\n")
    assert "node0" in report["discover"]


def test_what_was_sent_is_counted_on_each_cpu_and_served_to_the_packet(report):
    """Also while the sidecar is dead: it was killed."""
    sent = report["sent"]
    assert all(report["sent_while_it_was_dead"].values())
    assert report["places"]
    for place, said in report["places"].items():
        by_cpu = said.pop("kernel")
        assert len(by_cpu) == 2, place
        assert all(each["total_packets"] for each in by_cpu), place
        kernel = {field: sum(each[field] for each in by_cpu) for field in FIELDS}
        assert {"kernel": kernel, **said} == dict.fromkeys(("kernel", "dump", "collector"), sent), place


def test_transmitted_packets_are_counted_where_the_kernel_has_tcx(report):
    has_tcx = not report["kernel"].startswith("6.1.")
    assert ("client0 transmits" in report["places"]) == has_tcx


def test_nothing_is_left_after_detaching(report):
    assert report["pins"] == []
    assert report["programs"] == []
