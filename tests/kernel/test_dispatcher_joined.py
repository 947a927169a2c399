# SPDX-License-Identifier: Apache-2.0
"""
Counting next to other programs, under a real dispatcher of libxdp; the other program is xdp-filter's.

A kernel that refuses programs of type `ext` has no dispatchers: libxdp attaches a program alone there.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.kernel import xdp
from tests.kernel.frames import send

probe = subprocess.run(["bpftool", "feature", "probe", "kernel"], check=False, capture_output=True, text=True)
if "program_type ext is available" not in probe.stdout:
    pytest.skip("this kernel refuses programs of type ext: no dispatcher can be", allow_module_level=True)

LAUNCHER = Path(__file__).with_name("with_rights.py")
OURS, FILTER = "xdp_count_frags", "xdpfilt_alw_all"


def tool(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def programs(interface):
    """Return by name the ids of the programs under the dispatcher, in the order they run in."""
    status = tool("xdp-loader", "status", interface.name)
    rows = re.findall(r"^ => +([0-9]+) +(\S+) +([0-9]+) ", status, re.MULTILINE)
    return {name: int(number) for _, name, number in sorted(rows, key=lambda row: int(row[0]))}


def counted(interface):
    """Return what bpftool reads from the pinned map: all packets."""
    (entry,) = json.loads(tool("bpftool", "-j", "map", "dump", "pinned", interface.map_pin))
    return sum(slot["value"]["total_packets"] for slot in entry["formatted"]["values"])


@pytest.fixture
def shared(veth, cleanup):
    """An interface with xdp-filter on it, which lets everything pass."""
    tool("xdp-filter", "load", veth.name)
    cleanup.callback(subprocess.run, ["xdp-loader", "unload", "--all", veth.name], capture_output=True)
    assert list(programs(veth)) == [FILTER]
    return veth


def test_the_program_joins_the_others_and_counts(shared):
    """Both run on the interface, ours first, and every frame is counted."""
    xdp.attach(shared)
    send(shared, 17)

    assert list(programs(shared)) == [OURS, FILTER]
    assert counted(shared) == 17
    assert xdp.is_shared(shared)


def test_packets_that_another_program_drops_are_counted(veth, cleanup):
    """Ours runs first: it counts what arrives, not what is left."""
    cleanup.callback(subprocess.run, ["xdp-loader", "unload", "--all", veth.name], capture_output=True)
    tool("xdp-filter", "load", "--policy", "deny", veth.name)
    xdp.attach(veth)
    send(veth, 5)

    assert list(programs(veth)) == [OURS, "xdpfilt_dny_all"]
    assert counted(veth) == 5


def test_attaching_twice_changes_nothing(shared):
    """The second attach, by this process or another, keeps the programs."""
    xdp.attach(shared)
    before = programs(shared)
    xdp.attach(shared)

    assert programs(shared) == before


def test_the_program_joins_in_generic_mode(veth, cleanup):
    """Its mode is that of the programs there."""
    cleanup.callback(subprocess.run, ["xdp-loader", "unload", "--all", veth.name], capture_output=True)
    tool("xdp-filter", "load", "--mode", "skb", veth.name)
    xdp.attach(veth)
    send(veth, 4)

    assert list(programs(veth)) == [OURS, FILTER]
    assert counted(veth) == 4
    assert " xdpgeneric " in tool("ip", "link", "show", veth.name)


def test_detach_leaves_the_others(shared):
    """Ours is removed with its pins; the other program keeps its id."""
    before = programs(shared)
    xdp.attach(shared)

    assert xdp.detach(shared) is True
    assert programs(shared) == before
    assert not shared.pin_directory.exists()
    assert xdp.detach(shared) is False


def test_detach_of_the_last_program_leaves_the_interface_bare(shared):
    """Once the others have left, nothing of libxdp stays behind."""
    xdp.attach(shared)
    tool("xdp-filter", "unload", shared.name)

    assert list(programs(shared)) == [OURS]
    assert xdp.detach(shared) is True
    assert " xdp" not in tool("ip", "link", "show", shared.name)


def test_counts_survive_when_others_join_and_leave(shared):
    """libxdp builds a new dispatcher each time; our program and its map stay."""
    xdp.attach(shared)
    ours = programs(shared)[OURS]
    send(shared, 3)
    tool("xdp-filter", "unload", shared.name)
    send(shared, 4)
    tool("xdp-filter", "load", shared.name)
    send(shared, 5)

    assert programs(shared)[OURS] == ours
    assert counted(shared) == 12


def test_after_the_dispatcher_is_unloaded_the_program_counts_alone(shared):
    """Once somebody unloads all programs, the next attach continues in the same map."""
    xdp.attach(shared)
    send(shared, 3)
    tool("xdp-loader", "unload", "--all", shared.name)
    xdp.attach(shared)
    send(shared, 4)

    assert counted(shared) == 7
    assert not xdp.is_shared(shared)
    assert shared.link_pin.exists()


def attach(interface, *capabilities):
    """Attach as root with these capabilities alone; return the exit code and the log."""
    command = (
        sys.executable,
        LAUNCHER,
        "0",
        "0",
        ",".join(capabilities),
        "attach",
        "--interface",
        interface.name,
    )
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={"PYTHONPATH": Path(__file__).parents[2]}
    )
    return done.returncode, done.stderr


def test_joining_needs_sys_admin_and_net_admin(shared):
    """These two suffice; without one of them nothing changes, and the message names it."""
    before = programs(shared)
    code, log = attach(shared, "NET_ADMIN", "BPF", "PERFMON", "DAC_OVERRIDE")
    assert (code, programs(shared)) == (4, before), log
    assert "CAP_SYS_ADMIN is missing" in log
    code, log = attach(shared, "SYS_ADMIN", "DAC_OVERRIDE")
    assert (code, programs(shared)) == (4, before), log
    assert "CAP_NET_ADMIN is missing" in log

    code, log = attach(shared, "SYS_ADMIN", "NET_ADMIN")
    assert (code, list(programs(shared))) == (0, [OURS, FILTER]), log
