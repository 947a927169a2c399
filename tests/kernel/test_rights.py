# SPDX-License-Identifier: Apache-2.0
"""
The table of docs/rights.md: each way of running works with its capabilities, and names a missing one.

The real command runs, as a user of its own where the kernel allows, and exports to a real gRPC server.
"""

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from demo.bpf_commands import map_update
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from tests.wire.conftest import Collector

ROOT, NOBODY = 0, 65534
LAUNCHER = Path(__file__).with_name("with_rights.py")
KERNEL = tuple(map(int, re.findall(r"[0-9]+", platform.release())[:2]))
# kernel/bpf/syscall.c, __sys_bpf: since 5.19 only making maps and programs takes CAP_BPF.
READ = "" if KERNEL >= (5, 19) else "BPF"
ATTACH = "BPF,NET_ADMIN" if KERNEL >= (5, 18) else "BPF,NET_ADMIN,PERFMON"


@pytest.fixture(scope="module")
def server():
    with Collector() as running:
        yield running


@pytest.fixture
def home(cleanup):
    """A state directory in a place that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="xdp-otel-rights-"))
    cleanup.callback(shutil.rmtree, path)
    path.chmod(0o755)
    return path


@pytest.fixture
def run(server, home):
    """Run one cycle of the command with exactly these rights; return its exit code and its log."""

    def once(uid, capabilities, *arguments, gid=None, bpffs="", profile="packet-counter"):
        state = home / f"state-{uid}"
        state.mkdir(exist_ok=True)
        os.chown(state, uid, uid)
        server.calls.clear()
        command = [sys.executable, LAUNCHER, uid, uid if gid is None else gid, capabilities, *arguments]
        if arguments[0] == "run":
            command += ["--profile", profile] if profile and "--interface" not in arguments else []
            command += ["--once", "--otel-endpoint", f"127.0.0.1:{server.port}", "--state-dir", state]
        if bpffs:
            mount = f'mount -t bpf -o mode={bpffs} bpf /sys/fs/bpf && exec "$@"'
            command = ["unshare", "--mount", "bash", "-c", mount, "bash", *command]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            list(map(str, command)), check=False, capture_output=True, text=True, env=env, cwd="/"
        )
        return done.returncode, done.stderr + done.stdout

    return once


@pytest.fixture
def counted(make_map, make_pin):
    """A pinned map with 7 packets in it, of root alone."""
    fd = make_map(uapi.MAP_ARRAY, name="rights_counts")
    map_update(fd, bytes(4), struct.pack("=8Q", 7, 700, 0, 0, 0, 7, 0, 0))
    pin = make_pin(fd)
    pin.chmod(0o600)
    return pin, bpf.map_info(fd).id


def assert_delivered(server, outcome):
    code, log = outcome
    assert code == 0, log
    assert server.calls


def refused(outcome):
    """Return the line that ends the log of a run for want of a right."""
    code, log = outcome
    assert code == 4, log
    assert "Traceback" not in log
    return log.splitlines()[-1]


def test_reading_an_own_pin_needs_no_capability(run, server, counted):
    """Its owner and its group can read it; before Linux 5.19 CAP_BPF is needed as well."""
    pin, _ = counted
    os.chown(pin, NOBODY, 0)
    assert_delivered(server, run(NOBODY, READ, "run", "--map-path", pin))
    os.chown(pin, ROOT, NOBODY)
    pin.chmod(0o640)
    assert_delivered(server, run(12345, READ, "run", "--map-path", pin, gid=NOBODY))


def test_reading_another_users_pin_needs_dac_read_search(run, server, counted):
    """The right to read every file suffices; without it the message names it."""
    pin, _ = counted
    others = ",".join(filter(None, ["DAC_READ_SEARCH", READ]))
    assert_delivered(server, run(NOBODY, others, "run", "--map-path", pin))

    assert "CAP_DAC_READ_SEARCH is missing" in refused(run(NOBODY, READ, "run", "--map-path", pin))
    assert server.calls == []


@pytest.mark.parametrize("by", ["id", "name"])
def test_by_id_or_name_needs_sys_admin(run, server, counted, by):
    """It suffices for any user; the capabilities of all other ways do not."""
    _, map_id = counted
    place = ("--map-id", map_id) if by == "id" else ("--map-name", "rights_counts")
    assert_delivered(server, run(NOBODY, "SYS_ADMIN", "run", *place))

    line = refused(run(NOBODY, "BPF,NET_ADMIN,PERFMON,DAC_OVERRIDE", "run", *place))
    assert "CAP_SYS_ADMIN is missing" in line
    assert server.calls == []


def test_a_map_by_interface_and_name_needs_sys_admin(run, server, flows):
    """It suffices for any user."""
    place = ("--map-name", f"{flows.interface.name}:flows")
    flows.send("192.0.2.7", 6, 1)
    assert_delivered(server, run(NOBODY, "SYS_ADMIN", "run", *place, profile=""))

    line = refused(run(NOBODY, "BPF,NET_ADMIN,PERFMON,DAC_OVERRIDE", "run", *place, profile=""))
    assert "CAP_SYS_ADMIN is missing" in line
    assert server.calls == []


def test_counting_the_runs_of_programs_needs_sys_admin(run, server, counted):
    """It suffices for any user; without it nothing is sent, and the line names it."""
    pin, _ = counted
    os.chown(pin, NOBODY, 0)
    arguments = ("run", "--program-stats", "--map-path", pin)
    assert_delivered(server, run(NOBODY, "SYS_ADMIN", *arguments))

    line = refused(run(NOBODY, "BPF,NET_ADMIN,PERFMON,DAC_OVERRIDE", *arguments))
    assert "ERROR cannot count the runs of programs: EPERM" in line
    assert "CAP_SYS_ADMIN is missing" in line
    assert server.calls == []


@pytest.mark.parametrize("direction", ["receive", "both"])
def test_attaching_needs_bpf_and_net_admin(run, server, veth, direction):
    """With these two alone root attaches the shipped program, counts and exports."""
    arguments = ("run", "--interface", veth.name, "--direction", direction)
    assert_delivered(server, run(ROOT, ATTACH, *arguments))


@pytest.mark.parametrize("lost", ["BPF", "NET_ADMIN"])
@pytest.mark.parametrize("direction", ["receive", "transmit"])
def test_attaching_without_one_of_them_names_it(run, veth, direction, lost):
    """Each of the two is refused without the other."""
    left = ",".join(name for name in ATTACH.split(",") if name != lost)
    arguments = ("run", "--interface", veth.name, "--direction", direction)
    assert f"CAP_{lost} is missing" in refused(run(ROOT, left, *arguments))
    assert not veth.link_pin.exists()


def test_a_user_attaches_where_bpffs_is_writable(run, server, veth):
    """With mode 1777, the default of a mount, any user may create pins."""
    assert_delivered(server, run(NOBODY, ATTACH, "run", "--interface", veth.name, bpffs="1777"))


def test_in_the_bpffs_of_systemd_a_user_needs_dac_override_to_attach(run, server, veth):
    """systemd mounts it for root alone (0700); the message names the capability."""
    arguments = ("run", "--interface", veth.name)
    assert_delivered(server, run(NOBODY, f"{ATTACH},DAC_OVERRIDE", *arguments, bpffs="0700"))

    assert "CAP_DAC_OVERRIDE is missing" in refused(run(NOBODY, ATTACH, *arguments, bpffs="0700"))


def test_detaching_another_users_attachment_names_the_capability(run, veth):
    """A user who may not enter bpffs, or not write there, gets one line and changes nothing."""
    code, log = run(ROOT, ATTACH, "attach", "--interface", veth.name)
    assert code == 0, log

    assert "CAP_DAC_OVERRIDE is missing" in refused(run(NOBODY, ATTACH, "detach", "--interface", veth.name))
    closed = run(NOBODY, ATTACH, "detach", "--interface", veth.name, bpffs="0700")
    assert "CAP_DAC_OVERRIDE is missing" in refused(closed)
    assert veth.link_pin.exists()


def test_a_read_only_bpffs_is_reported_as_such(run, veth):
    """As systemd's ProtectKernelTunables= and `:ro` volumes make it; the message says what to change."""
    line = refused(run(ROOT, ATTACH, "attach", "--interface", veth.name, bpffs="1777,ro"))
    assert "EROFS" in line
    assert "mount bpffs read-write" in line


def test_an_attached_interface_is_read_without_capabilities(run, server, veth):
    """Reading the interface's pin needs no more than any pin."""
    code, log = run(ROOT, ATTACH, "attach", "--interface", veth.name)
    assert code == 0, log

    assert_delivered(server, run(ROOT, READ, "run", "--map-path", veth.map_pin))


def test_the_owner_of_the_pins_detaches_without_capabilities(run, veth):
    """An open link may be detached (kernel/bpf/syscall.c, link_detach)."""
    code, log = run(ROOT, ATTACH, "attach", "--interface", veth.name)
    assert code == 0, log
    code, log = run(ROOT, READ, "detach", "--interface", veth.name)

    assert code == 0, log
    assert not veth.pin_directory.exists()


LOAD_MANY = """
import resource
from sidecar.errors import SidecarError
from sidecar.kernel import capabilities, libbpf
from sidecar.kernel.capabilities import Capability
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
capabilities.keep_only({Capability.BPF, Capability.NET_ADMIN, Capability.PERFMON})
loaded = []
try:
    while len(loaded) < 12:
        loaded.append(libbpf.load_packet_counter())
except SidecarError as error:
    print(len(loaded), error)
"""


def test_a_limit_on_locked_memory_is_named_where_it_counts():
    """Before Linux 5.11 maps and programs are charged to it, and only CAP_SYS_RESOURCE could lift it."""
    load = [sys.executable, "-c", LOAD_MANY]
    told = subprocess.run(load, check=True, capture_output=True, text=True, cwd=LAUNCHER.parents[2]).stdout

    if told:
        assert int(told.split()[0]) >= 5
        assert "the limit on locked memory (`ulimit -l`)" in told


@pytest.fixture
def netns(cleanup):
    name = f"xt{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
    return name


def test_another_network_namespace_needs_sys_admin(run, server, netns, cleanup):
    """setns(2) needs it, and it replaces the others; without it the message names it."""
    arguments = ("--interface", "lo", "--netns", netns)
    cleanup.callback(run, ROOT, "SYS_ADMIN", "detach", *arguments)
    assert_delivered(server, run(ROOT, "SYS_ADMIN", "run", *arguments))

    assert "CAP_SYS_ADMIN is missing" in refused(run(ROOT, ATTACH, "run", *arguments))


LAYOUT = """\
sources:
  - pin: {pin}
    layout: {{key: {{saddr: u32, proto: u8}}, value: {{packets: u64, bytes: u64, fragments: u32}}}}
"""


def test_the_fields_of_a_map_need_sys_admin_or_a_layout(run, server, flows, home):
    """The kernel shows BTF to CAP_SYS_ADMIN alone; a layout in the configuration replaces it."""
    config = home / "config.yaml"
    config.write_text(LAYOUT.format(pin=flows.map))
    for arguments, capabilities in ((("--map-path", flows.map), "SYS_ADMIN"), (("--config", config), READ)):
        server.forget()
        flows.send("192.0.2.1", 6, 3)
        assert_delivered(server, run(ROOT, capabilities, "run", *arguments, profile=None))
        assert server.total("flows.packets") == 3

    assert "CAP_SYS_ADMIN" in refused(run(ROOT, "BPF,PERFMON", "run", "--map-path", flows.map, profile=None))


def test_dump_needs_the_same_as_run(run, counted):
    """A pin needs no more than for `run`; what is missing for an id is named."""
    pin, map_id = counted
    code, log = run(ROOT, READ, "dump", "--map-path", pin, "--profile", "packet-counter")
    assert code == 0, log

    assert "CAP_SYS_ADMIN is missing" in refused(run(ROOT, "BPF", "dump", "--map-id", map_id))


def test_in_a_user_namespace_no_capability_is_blamed(run, veth):
    """Root of a rootless container seems to have all of them; the message says why they do not count."""
    command = ("unshare", "--user", "--map-root-user", sys.executable, "-m", "sidecar")
    done = subprocess.run(
        [*command, "attach", "--interface", veth.name],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert "capabilities of a user namespace do not count" in refused((done.returncode, done.stderr))
