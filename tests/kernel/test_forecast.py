# SPDX-License-Identifier: Apache-2.0
"""What `check` says attaching will do is what the kernel then does; docs/attaching.md has the table."""

import ctypes
import errno
import fcntl
import socket
import struct
import subprocess
import uuid
from functools import cache

import pytest

from sidecar.commands.check.attaching import facts_of, require_attachable
from sidecar.commands.check.forecast import Mode, forecast
from sidecar.errors import KernelError, SourceError
from sidecar.kernel import ethtool, features, netns, xdp
from sidecar.kernel.interface import Interface
from tests.kernel.conftest import detach_if_there
from tests.kernel.user_program import xdp_otel

VETH = ["link add x type veth peer name y"]
PORTS = ["link add p type veth peer name q", "link add r type veth peer name s"]
STACKED = ["link add p type veth peer name q", "link set p mtu 9000"]
JUMBO = ["link set x mtu 9000"]
PLACES = {
    "veth": (VETH, Mode.NATIVE),
    "veth, 9000": ([*VETH, *JUMBO, "link set y mtu 9000"], Mode.NATIVE),
    "tap": (["tuntap add x mode tap"], Mode.NATIVE),
    "tap, 9000": (["tuntap add x mode tap", *JUMBO], Mode.NATIVE),
    "bridge": (["link add x type bridge"], Mode.GENERIC),
    "bridge, 9000": (["link add x type bridge", *JUMBO], Mode.GENERIC),
    "port of a bridge": ([*VETH, "link add b0 type bridge", "link set x master b0"], Mode.NATIVE),
    "macvlan": ([*STACKED, "link add link p name x type macvlan"], Mode.GENERIC),
    "vlan": ([*STACKED, "link add link p name x type vlan id 7"], Mode.GENERIC),
    "vlan, 9000": ([*STACKED, "link add link p name x type vlan id 7", *JUMBO], Mode.GENERIC),
    "bond without ports": (["link add x type bond mode active-backup"], Mode.NATIVE),
    "bond of a bridge": (
        ["link add x type bond mode active-backup", "link add p type bridge", "link set p master x"],
        Mode.GENERIC,
    ),
    "port of a bond": (
        [*VETH, "link add b0 type bond mode active-backup", "link set x master b0"],
        Mode.NATIVE,
    ),
}


def bond(mode):
    """Return the commands that make a bond of two ports."""
    return [*PORTS, f"link add x type bond mode {mode}", "link set p master x", "link set r master x"]


PLACES |= {f"bond {mode}": (bond(mode), Mode.NATIVE) for mode in ("balance-rr", "active-backup")}
PLACES |= {f"bond {mode}": (bond(mode), Mode.NATIVE) for mode in ("balance-xor", "802.3ad")}
PLACES |= {f"bond {mode}": (bond(mode), Mode.GENERIC) for mode in ("broadcast", "balance-tlb", "balance-alb")}
PLACES["bond, 9000"] = [*bond("active-backup"), *JUMBO], Mode.NATIVE
PLACES["bond by vlan"] = bond("balance-xor xmit_hash_policy vlan+srcmac"), Mode.GENERIC

# By the interface that carries a program, and one below it that then can carry none.
BLOCKED = {
    "bridge": ([*VETH, "link add b0 type bridge", "link set x master b0"], "b0"),
    "macvlan": ([*VETH, "link add link x name m type macvlan"], "m"),
    "vlan": ([*VETH, "link add link x name v type vlan id 7"], "v"),
    "bond": ([*VETH, "link add b0 type bond mode active-backup", "link set x master b0"], "b0"),
}


# A skip would count as a failure, so what the kernel has no module for, or no such option, is left out.
KINDS = {"type bond": "bond", "type macvlan": "macvlan", "type vlan": "vlan id 7"}
KINDS["vlan+srcmac"] = "bond mode balance-xor xmit_hash_policy vlan+srcmac"


@cache
def exists(kind):
    """Return whether this kernel has a kind of interface."""
    trial = f"ip link add t0 type veth peer name t1 && ip link add link t0 name t2 type {KINDS[kind]}"
    command = ["unshare", "--net", "sh", "-c", trial]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def possible(places):
    """Return the names of those that this kernel can make."""
    needed = {name: [kind for kind in KINDS if kind in str(places[name])] for name in places}
    return [name for name, kinds in needed.items() if all(map(exists, kinds))]


@pytest.fixture
def place(cleanup, bpffs):
    """Type `ip` commands in a network namespace of its own; return the interface of a name there."""
    name = f"xtf{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", name], check=True)

    def make(commands, interface="x"):
        for command in commands:
            subprocess.run(["ip", "-netns", name, *command.split()], check=True)
        made = Interface(interface, name)
        cleanup.callback(detach_if_there, made)
        return made

    return make


@pytest.mark.parametrize("name", possible(PLACES))
def test_the_mode_is_the_one_that_was_foretold(place, name):
    """Veth, tap, bridge and its port, macvlan, VLAN, bond in each mode and its port; MTU 1500 and 9000."""
    commands, documented = PLACES[name]
    interface = place(commands)
    before = facts_of(interface)
    xdp.attach(interface)
    ((mode, _),) = facts_of(interface).link.programs

    foretold = forecast(before).mode
    if before.features is None and foretold is Mode.EITHER:
        assert mode == "generic" or documented is Mode.NATIVE
    else:
        assert foretold is documented
        assert mode == documented.value.split()[0]


@pytest.mark.parametrize("name", possible(BLOCKED))
def test_a_program_on_top_is_named_before_the_kernel_refuses_one_below(place, name):
    """By `check`, with what to do; and the kernel does refuse. One that does not, has no such line either."""
    commands, upper = BLOCKED[name]
    below = place(commands)
    xdp.attach(place([], upper))
    if not features.refuses_below_programs():
        require_attachable(below)
        xdp.attach(below)
        return

    with pytest.raises(SourceError, match=f"{upper} on top of it carries an XDP program"):
        require_attachable(below)
    with pytest.raises(KernelError, match=r"EEXIST.*`xdp-otel check` names the program on top"):
        xdp.attach(below)


def test_a_veth_needs_a_queue_for_each_that_its_peer_sends_by(place):
    """By default it has one; ETHTOOL_SCHANNELS gives the peer a second one to send by."""
    interface = place(["link add x numrxqueues 1 type veth peer name y numtxqueues 2 numrxqueues 2"])
    two = ctypes.create_string_buffer(struct.pack("=9I", 0x3D, 0, 0, 0, 0, 2, 2, 0, 0))
    with netns.entered(interface.netns), socket.socket() as channel:
        try:
            fcntl.ioctl(channel, 0x8946, struct.pack("=16sQ16x", b"y", ctypes.addressof(two)))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            pytest.skip("the queues of a veth cannot be changed")
    before = facts_of(interface)
    xdp.attach(interface)
    ((mode, _),) = facts_of(interface).link.programs

    assert mode == "generic"
    if before.features is not None:
        assert forecast(before).mode is Mode.GENERIC
        assert "its peer has more transmit queues" in forecast(before).why


def test_the_peer_of_a_veth_loses_segmentation_as_foretold(place):
    """And has it again afterwards."""
    interface = place(VETH)

    def segments():
        with netns.entered(interface.netns):
            return "tx-tcp-segmentation" in ethtool.offloads("y").on

    assert any("segmentation offload" in note for note in forecast(facts_of(interface)).notes)
    assert segments()
    xdp.attach(interface)
    assert not segments()
    xdp.detach(interface)
    assert segments()


def test_generic_mode_is_a_warning_with_its_cost(place, tmp_path):
    """Before and after it is attached; exit code 0, as `run` would work."""
    interface = place(["link add x type bridge"])
    where = ("--interface", "x", "--netns", interface.netns)
    check = ("check", "--no-endpoint", "--state-dir", tmp_path / "state", *where)
    before = xdp_otel(*check).splitlines()
    xdp.attach(interface)
    after = xdp_otel(*check).splitlines()

    at = before.index(
        f"WARNING attaching to {interface}: generic mode: no native XDP in interfaces of kind bridge"
    )
    assert before[at + 1].startswith("        driver bridge, MTU 1500, CPUs ")
    assert before[at + 2].startswith("        it costs more per packet, ")
    assert before[at + 3] == "        attaching changes nothing else"
    assert before[-1] == "OK"
    assert any(line.startswith(f"WARNING attached to {interface}: generic mode: it costs ") for line in after)
