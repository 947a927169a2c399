# SPDX-License-Identifier: Apache-2.0
"""The sidecar of `make release`, run where there is nothing else: `make test-release`."""

import os
import shutil
import tarfile

import pytest

from demo.processes import ROOT
from release.architectures import ARCHITECTURES
from sidecar import __version__
from tests.release.roots import run_in

DIST = ROOT / "dist"

_STARTS_ITSELF = """
import ctypes, grpc, numpy, ssl, subprocess, sys
ctypes.CDLL("libbpf.so.1")
subprocess.run([sys.executable, "-I", "-S", "-c", "print('again')"], check=True)
"""


@pytest.fixture(scope="module", params=ARCHITECTURES)
def unpacked(tmp_path_factory, request):
    """Unpack an archive, under another name, where there is only a shell; return what, root and place."""
    architecture, root = request.param, tmp_path_factory.mktemp("root")
    top = f"xdp-otel-{__version__}-linux-{architecture}"
    with tarfile.open(DIST / f"{top}.tar.gz") as archive:
        archive.extractall(root / "any", filter="data")
    (root / "any" / top).rename(root / "any/where")
    busybox = shutil.which("busybox")
    assert busybox, "install the package busybox-static"
    (root / "bin").mkdir()
    for name in ("sh", "readlink"):
        shutil.copy(busybox, root / "bin" / name)
    return architecture, root, "/any/where"


def test_the_archive_runs_where_there_is_only_a_shell(unpacked):
    architecture, root, where = unpacked
    assert run_in(root, architecture, f"{where}/bin/xdp-otel", "--version") == f"xdp-otel {__version__}\n"
    assert run_in(root, architecture, f"{where}/bin/python3", "-c", _STARTS_ITSELF) == "again\n"


def test_the_archive_runs_by_a_link_and_whatever_python_is_told_to_do(unpacked):
    architecture, root, where = unpacked
    (root / "xdp-otel").symlink_to(f"{where}/bin/xdp-otel")
    env = {**os.environ, "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"}
    assert run_in(root, architecture, "/xdp-otel", "--version", env=env) == f"xdp-otel {__version__}\n"
