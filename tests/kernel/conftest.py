# SPDX-License-Identifier: Apache-2.0
"""Interfaces, maps and pins for the kernel tests; all are removed after the test."""

import os
import signal
import subprocess
import sys
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from demo.bpf_commands import map_create
from sidecar.errors import KernelError
from sidecar.kernel import features, libbpf, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.waiting import patient
from tests.wire.collector import Collector

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """The maps of maps/odd.bpf.c, loaded."""
    path = compile_object(MAPS / "odd.bpf.c", tmp_path_factory.mktemp("bpf") / "odd.o")
    with Loaded(path) as loaded:
        yield loaded


@pytest.fixture
def cleanup():
    """An ExitStack that ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server():
    """A Collector that keeps books of what it is sent."""
    with Collector() as running:
        yield running


@pytest.fixture
def run(tmp_path, server):
    """Start the sidecar, which sends to the server; unless the test kills it, it must end well."""

    @contextmanager
    def running(*arguments, interval="0.2"):
        log = tmp_path / "sidecar.log"
        command = [sys.executable, "-m", "sidecar", "run", *arguments, "--interval", interval]
        command += ["--state-dir", tmp_path / "state", "--otel-endpoint", f"127.0.0.1:{server.port}"]
        with log.open("ab") as output:
            process = subprocess.Popen(command, stderr=output, env=os.environ | {"PYTHONPATH": str(ROOT)})
        process.log = log.read_text
        try:
            yield process
            if process.returncode != -signal.SIGKILL:
                process.terminate()
                assert process.wait(patient(30)) == 0, process.log()
        finally:
            process.kill()
            process.wait()

    return running


@pytest.fixture(scope="session")
def needs_tcx():
    """Skip what counts transmitted packets where the kernel has no TCX."""
    try:
        features.require_tcx("test")
    except KernelError as error:
        pytest.skip(error.cause)


@pytest.fixture(scope="session")
def needs_frags():
    """Skip what needs the program for multi-buffer packets where the kernel has no multi-buffer XDP."""
    with libbpf.load_packet_counter() as program:
        if not program.has_frags:
            pytest.skip("the kernel has no multi-buffer XDP")


@pytest.fixture
def bpffs():
    """The mounted bpffs."""
    mounts = Path("/proc/mounts").read_text().splitlines()
    if not any(line.split()[1:3] == ["/sys/fs/bpf", "bpf"] for line in mounts):
        subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    return Path("/sys/fs/bpf")


@pytest.fixture
def make_map(cleanup):
    """Create a map that is closed after the test; return its file descriptor."""

    def make(map_type, *, key_size=4, value_size=64, max_entries=1, name="stats_map", flags=0):
        fd = map_create(
            map_type,
            key_size=key_size,
            value_size=value_size,
            max_entries=max_entries,
            name=name,
            flags=flags,
        )
        cleanup.callback(os.close, fd)
        return fd

    return make


@pytest.fixture
def make_pin(cleanup, bpffs):
    """Pin a map under a unique name; return the path."""

    def make(fd, path=None):
        path = path or bpffs / f"test-{uuid.uuid4().hex[:12]}"
        bpf.obj_pin(fd, str(path))
        cleanup.callback(path.unlink, missing_ok=True)
        return path

    return make


@pytest.fixture
def veth(cleanup, bpffs):
    """A veth interface, up, with its peer; detached and deleted after the test."""
    name = f"xt{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    cleanup.callback(subprocess.run, ["ip", "link", "del", name], check=False, stderr=subprocess.DEVNULL)
    for end in (name, f"{name}p"):
        Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", end, "up"], check=True)
    interface = Interface(name)
    cleanup.callback(detach_if_there, interface)
    return interface


def detach_if_there(interface):
    """Remove what xdp-otel left on an interface, which the test may have deleted."""
    if interface.pin_directory.exists():
        xdp.detach(interface)


@pytest.fixture
def flows(veth, cleanup, bpffs, tmp_path):
    """A user's own program, flows.bpf.c, on a veth interface."""
    # Its compiler and its tools: only the tests of commands pay for them.
    from tests.kernel.user_program import UserProgram  # noqa: PLC0415

    program = UserProgram(veth, bpffs / f"test-{uuid.uuid4().hex[:12]}", tmp_path)
    cleanup.callback(program.close)
    return program
