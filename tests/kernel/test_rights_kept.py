# SPDX-License-Identifier: Apache-2.0
"""What a running sidecar keeps of root's capabilities, in each of its threads (docs/rights.md)."""

import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.bpf_commands import map_update
from demo.ports import Ports
from sidecar.describe.spec import MapRef
from sidecar.kernel import capabilities, dispatcher, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability
from sidecar.sources import privileges
from sidecar.sources.privileges import Machine, needed
from tests.waiting import patient

KERNEL = tuple(map(int, re.findall(r"[0-9]+", platform.release())[:2]))
READ = set() if KERNEL >= (5, 19) else {Capability.BPF}
NEW = Machine(kernel=(6, 18), reading_needs_bpf=False)
OLD = Machine(kernel=(5, 15), reading_needs_bpf=True)


@pytest.mark.parametrize(
    ("place", "machine", "expected"),
    [
        (MapRef("pin", "/sys/fs/bpf/a"), NEW, "DAC_READ_SEARCH"),
        (MapRef("pin", "/sys/fs/bpf/a"), OLD, "DAC_READ_SEARCH BPF"),
        (MapRef("id", "7"), NEW, ""),
        (MapRef("name", "a"), NEW, "SYS_ADMIN"),
        (MapRef("attached", "eth0", map="a"), NEW, "SYS_ADMIN"),
        (MapRef("interface", "eth0"), NEW, "NET_ADMIN BPF"),
        (MapRef("interface", "eth0"), OLD, "NET_ADMIN PERFMON BPF"),
        (MapRef("interface", "eth0", "blue"), NEW, "SYS_ADMIN"),
    ],
    ids=str,
)
def test_place_and_kernel_determine_what_is_kept(place, machine, expected):
    """Exactly the capabilities that following the place may need again."""
    assert needed([place], machine) == {Capability[name] for name in expected.split()}


def test_several_places_add_up():
    """One sidecar with two sources keeps what either needs."""
    both = needed([MapRef("pin", "/sys/fs/bpf/a"), MapRef("name", "b")], NEW)
    assert both == {Capability.DAC_READ_SEARCH, Capability.SYS_ADMIN}


def test_under_a_dispatcher_the_rights_of_libxdp_are_kept():
    """Where libxdp's dispatcher calls our program, joining again needs what joining needed."""
    machine = Machine((6, 18), reading_needs_bpf=False, shared=frozenset({"interface:eth0"}))
    assert needed([MapRef("interface", "eth0")], machine) == set(dispatcher.RIGHTS)


def test_a_pin_that_only_btf_describes_keeps_the_right_to_read_btf():
    """The next map under the pin may differ, and only its BTF shows that."""
    machine = Machine((6, 18), reading_needs_bpf=False, known_by_btf=frozenset({"pin:/sys/fs/bpf/a"}))
    places = [MapRef("pin", "/sys/fs/bpf/a"), MapRef("pin", "/sys/fs/bpf/b")]
    assert needed(places[:1], machine) == {Capability.DAC_READ_SEARCH, Capability.SYS_ADMIN}
    assert needed(places[1:], machine) == {Capability.DAC_READ_SEARCH}


def test_directories_and_ports_count(tmp_path):
    """A directory of another user and a port below 1024 need a capability each."""
    os.chown(tmp_path, 12345, 12345)
    machine = privileges.probe([], tmp_path / "not/there/yet", 80)
    expected = {Capability.DAC_OVERRIDE, Capability.NET_BIND_SERVICE, *READ}
    assert needed([MapRef("id", "7")], machine) == expected


def test_the_probe_leaves_the_capabilities_unchanged():
    """Trying what reading needs drops nothing."""
    before = Path("/proc/thread-self/status").read_text().splitlines()
    assert capabilities.reading_needs_bpf() is (Capability.BPF in READ)
    after = Path("/proc/thread-self/status").read_text().splitlines()
    assert [line for line in after if "Cap" in line] == [line for line in before if "Cap" in line]


@contextmanager
def running(directory, *arguments):
    """Run the sidecar as root until it has read once; it must end well."""
    port = Ports.free().telemetry
    options = ("--otel-endpoint", "none", "--status-address", f"127.0.0.1:{port}", "--interval", "0.2")
    log = directory / "sidecar.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sidecar",
                "run",
                *options,
                "--state-dir",
                directory / "state",
                *arguments,
            ],
            stderr=output,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
    try:
        deadline = time.monotonic() + patient(60)
        while "Rate:" not in log.read_text() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert "Rate:" in log.read_text(), log.read_text()
        yield process.pid, log
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(patient(60))
    assert code == 0, log.read_text()


def sets(pid):
    """Return the capability sets of all threads together, by name, and whether all have no_new_privs."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    assert len(statuses) > 1
    union = {
        name: set.union(
            *(_names(re.search(rf"^Cap{name}:\s+(\w+)", text, re.MULTILINE)[1]) for text in statuses)
        )
        for name in ("Eff", "Prm", "Bnd", "Amb", "Inh")
    }
    return union, all("NoNewPrivs:\t1" in text for text in statuses)


def _names(mask):
    return {number for number in range(64) if int(mask, 16) >> number & 1}


@pytest.fixture
def pinned(make_map, make_pin):
    fd = make_map(uapi.MAP_ARRAY, name="kept_counts")
    map_update(fd, bytes(4), struct.pack("=8Q", 7, 700, 0, 0, 0, 7, 0, 0))
    return make_pin(fd), bpf.map_info(fd).id


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("interface", {Capability.BPF, Capability.NET_ADMIN}),
        ("pin", {Capability.DAC_READ_SEARCH} | READ),
        ("id", READ),
        ("name", {Capability.SYS_ADMIN} | READ),
        ("pin, counting runs", {Capability.DAC_READ_SEARCH, Capability.SYS_ADMIN} | READ),
    ],
)
def test_a_running_sidecar_has_dropped_the_rest(tmp_path, veth, pinned, by, expected):
    """No thread has more than its way of reading needs, nor can regain it; the log lists what is left."""
    pin, map_id = pinned
    place = {
        "interface": ("--interface", veth.name),
        "pin": ("--map-path", pin, "--profile", "packet-counter"),
        "id": ("--map-id", str(map_id), "--profile", "packet-counter"),
        "name": ("--map-name", "kept_counts", "--profile", "packet-counter"),
        "pin, counting runs": ("--map-path", pin, "--profile", "packet-counter", "--program-stats"),
    }
    with running(tmp_path, *place[by]) as (pid, log):
        kept_sets, no_new_privileges = sets(pid)

    assert kept_sets == {"Eff": expected, "Prm": expected, "Bnd": set(), "Amb": set(), "Inh": set()}
    assert no_new_privileges
    kept = ", ".join(str(each) for each in Capability if each in expected) or "none"
    assert f"capabilities kept: {kept}\n" in log.read_text()


def test_reading_by_btf_keeps_the_right_to_read_btf(tmp_path, flows):
    """Reading by a layout does not."""
    config = tmp_path / "config.yaml"
    layout = "{key: {saddr: u32, proto: u8}, value: {packets: u64, bytes: u64, fragments: u32}}"
    config.write_text(f"sources:\n  - pin: {flows.map}\n    layout: {layout}\n")
    with running(tmp_path, "--map-path", flows.map) as (pid, _):
        by_btf, _ = sets(pid)
    with running(tmp_path, "--config", config) as (pid, _):
        by_layout, _ = sets(pid)

    assert by_btf["Prm"] == {Capability.DAC_READ_SEARCH, Capability.SYS_ADMIN} | READ
    assert by_layout["Prm"] == {Capability.DAC_READ_SEARCH} | READ


def test_the_kept_capabilities_suffice_to_attach_again(tmp_path, veth):
    """An interface that comes back is followed."""
    with running(tmp_path, "--interface", veth.name) as (_, log):
        subprocess.run(["ip", "link", "del", veth.name], check=True)
        subprocess.run(
            ["ip", "link", "add", veth.name, "type", "veth", "peer", "name", f"{veth.name}p"], check=True
        )
        deadline = time.monotonic() + patient(60)
        while log.read_text().count("attached to") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert log.read_text().count("attached to") == 2, log.read_text()
        assert socket.if_nametoindex(veth.name)


WITHOUT_CAPSET = """
import ctypes, struct, sys
from sidecar import cli
from tests.waiting import patient

# seccomp(2), classic BPF: EPERM for capset(2), everything else is allowed.
code = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
filter = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(22, 2, filter) == 0, ctypes.get_errno()
sys.exit(cli.main(sys.argv[2:]))
"""


def test_without_capset_the_sidecar_warns_and_runs(tmp_path, pinned):
    """A seccomp profile that is too strict costs a warning, not the counts."""
    number = {"x86_64": "126", "aarch64": "91"}[platform.machine()]
    command = [sys.executable, "-c", WITHOUT_CAPSET, number, "run", "--map-path", pinned[0]]
    options = ["--profile", "packet-counter", "--otel-endpoint", "none", "--status-address", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, *options, "--once", "--state-dir", tmp_path / "state"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert done.returncode == 0, done.stderr
    assert "cannot drop capabilities: EPERM (Operation not permitted): continuing with them" in done.stderr
    assert "Total: 7 pkts" in done.stderr
