# SPDX-License-Identifier: Apache-2.0
"""
What attaching the shipped XDP program to an interface will do, by what the kernel says about it (pure).

`kernel.program_link` tries native mode, then generic mode; whatever a driver refuses in native mode thus
becomes generic mode. docs/attaching.md has the sources of the rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from sidecar.kernel.interface_facts import InterfaceFacts
from sidecar.kernel.netlink import Link
from sidecar.kernel.xdp_features import XdpFeature

COST = "it costs more per packet, as each has become an skb by then: docs/attaching.md"
"""What generic mode costs."""

# Virtual interfaces without native XDP, and drivers with it, where the kernel does not say (before 6.3).
_GENERIC_KINDS = frozenset(
    ("bridge", "dummy", "gre", "ifb", "ipip", "ipvlan", "macsec", "macvlan", "sit", "team", "vlan", "vxlan")
)
_NATIVE_DRIVERS = frozenset(
    (
        *("bnxt_en", "ena", "hv_netvsc", "i40e", "ice", "igb", "igc", "ixgbe", "mlx4_en", "mlx5_core"),
        *("tun", "veth", "virtio_net"),
    )
)
_BOND_MODES = {
    0: "balance-rr",
    1: "active-backup",
    2: "balance-xor",
    3: "broadcast",
    4: "802.3ad",
    5: "balance-tlb",
    6: "balance-alb",
}
_HASHED_BOND_MODES = frozenset(("balance-xor", "802.3ad"))
_NATIVE_BOND_MODES = _HASHED_BOND_MODES | {"balance-rr", "active-backup"}
_HASH_VLAN_SRCMAC = 5
# The largest MTU of which a packet surely fits into one buffer of any driver (ixgbe: 2 KiB buffers).
_SURE_MTU = 1500
# By driver, for a packet in one buffer on pages of 4 KiB.
_LARGEST_MTU = {"ena": 3498, "ixgbe": 3050, "tun": 65535}
_EFFECT = {
    "ena": "restarts the driver's queues: packets are lost for a moment",
    "i40e": "resets the port: the link is down for a moment",
    "ice": "rebuilds the driver's queues: the link is down for a moment",
    "ixgbe": "resets the port: the link is down for a moment",
    "mlx5_core": "reopens the driver's queues: packets are lost for a moment",
    "tun": "changes nothing else",
    "veth": "turns off segmentation offload (TSO, GSO) of its peer, which then sends more, smaller packets",
    "virtio_net": "stops the driver's queues for a moment",
}
_MERGING = {"rx-lro": "LRO", "rx-gro-hw": "GRO-HW"}


class Mode(Enum):
    """How the program will be attached."""

    NATIVE = "native mode"
    GENERIC = "generic mode"
    EITHER = "native or generic mode"


@dataclass(frozen=True)
class Forecast:
    """
    What attaching will do.

    Attributes:
        mode: How the program will be attached; EITHER if it cannot be known.
        why: Why so.
        notes: What else to know, a line each.

    """

    mode: Mode
    why: str
    notes: tuple[str, ...] = ()


def blocked_by(facts: InterfaceFacts) -> Link | None:
    """Return the interface on top whose program keeps the kernel from attaching one to this interface."""
    # net/core/dev.c, `dev_xdp_attach`: "Cannot attach when an upper device already has a program".
    return next((link for link in facts.upper if link.programs), None)


def forecast(facts: InterfaceFacts) -> Forecast:
    """Return what attaching to an interface that carries no program will do."""
    mode, why = _mode(facts)
    return Forecast(mode, why, tuple(_notes(facts, mode)))


def describe(facts: InterfaceFacts, possible_cpus: int) -> str:
    """Return the interface in a few words: `driver ice, MTU 1500, receive queues 8 of 16, CPUs 16`."""
    parts = [f"driver {facts.driver or 'unknown'}", f"MTU {facts.link.mtu}"]
    if facts.channels:
        most = f" of {facts.channels.most}" if facts.channels.most != facts.channels.receiving else ""
        parts.append(f"receive queues {facts.channels.receiving}{most}")
    return ", ".join([*parts, f"CPUs {possible_cpus}"])


def _mode(facts: InterfaceFacts) -> tuple[Mode, str]:
    if facts.link.kind == "bond":
        return _mode_of_bond(facts)
    if facts.features is None:
        return _mode_by_driver(facts)
    if XdpFeature.BASIC not in facts.features:
        return Mode.GENERIC, f"no native XDP in {_named(facts)}{_reason(facts)}"
    return _within_limits(facts, multi_buffer=XdpFeature.RX_SG in facts.features)


def _mode_by_driver(facts: InterfaceFacts) -> tuple[Mode, str]:
    """Return the mode where the kernel does not say what the driver can do."""
    if facts.link.kind in _GENERIC_KINDS or not facts.driver:
        return Mode.GENERIC, f"no native XDP in {_named(facts)}"
    if facts.driver not in _NATIVE_DRIVERS:
        return Mode.EITHER, f"kernels before 6.3 do not say what {_named(facts)} can do"
    return _within_limits(facts, multi_buffer=False)


def _mode_of_bond(facts: InterfaceFacts) -> tuple[Mode, str]:
    """Return the mode by drivers/net/bonding/bond_main.c, `bond_xdp_check` and `bond_xdp_set`."""
    if facts.link.bond_mode is None:
        return Mode.EITHER, "the kernel does not say the bond's mode"
    name = _BOND_MODES.get(facts.link.bond_mode, f"mode {facts.link.bond_mode}")
    carrying = next((port.name for port in facts.ports if port.programs), None)
    lacking = facts.ports and facts.features is not None and XdpFeature.BASIC not in facts.features
    if name not in _NATIVE_BOND_MODES:
        refusal = f"no native XDP in a bond in mode {name}"
    elif name in _HASHED_BOND_MODES and facts.link.bond_hash == _HASH_VLAN_SRCMAC:
        refusal = "no native XDP in a bond that hashes by vlan+srcmac"
    elif carrying:
        refusal = f"port {carrying} of the bond carries a program of its own"
    elif lacking:
        refusal = "not all ports of the bond have native XDP"
    else:
        refusal = ""
    if refusal:
        return Mode.GENERIC, refusal
    if facts.features is None:
        # Bonds have it since 5.15.
        return Mode.EITHER, "kernels before 6.3 do not say whether a bond and its ports have native XDP"
    return Mode.NATIVE, f"a bond in mode {name}{'' if facts.ports else ', which has no ports yet'}"


def _within_limits(facts: InterfaceFacts, *, multi_buffer: bool) -> tuple[Mode, str]:
    """Return the mode of a driver with native XDP, which may refuse it all the same."""
    queues = facts.channels
    if facts.driver == "ena" and queues and 2 * queues.receiving > queues.most:
        needed = f"at most {queues.most // 2} of its {queues.most} queues (`ethtool -L`)"
        return Mode.GENERIC, f"driver ena has native XDP only with {needed}"
    if facts.driver == "virtio_net" and "rx-gro-hw" in facts.offloads.fixed:
        return Mode.GENERIC, "the host's virtio-net device cannot turn GRO-HW off, as native XDP needs"
    # The packets that arrive are those that the other end of a veth sends.
    mtu = facts.peer.mtu if facts.peer else facts.link.mtu
    largest = _LARGEST_MTU.get(facts.driver, 0)
    if multi_buffer or mtu <= max(largest, _SURE_MTU):
        return Mode.NATIVE, f"{_named(facts)} has it"
    if largest:
        return Mode.GENERIC, f"{_named(facts)} has native XDP only up to MTU {largest}"
    return Mode.EITHER, f"{_named(facts)} may refuse native mode with MTU {mtu}"


def _reason(facts: InterfaceFacts) -> str:
    """Return why a driver that has native XDP in general does not have it now."""
    if facts.driver == "veth":
        return " now: its peer has more transmit queues than it has receive queues"
    if facts.driver == "mlx5_core" and (on := _merging(facts.offloads.on)):
        return f" while {on} is on: `ethtool -K` turns it off"
    return ""


def _notes(facts: InterfaceFacts, mode: Mode) -> Iterator[str]:
    if mode is Mode.GENERIC:
        yield COST
    yield from _place(facts)
    if mode is Mode.GENERIC:
        # net/core/dev.c, `generic_xdp_install`.
        off = _merging(facts.offloads.on - facts.offloads.fixed)
        yield f"attaching turns {off} off" if off else "attaching changes nothing else"
        return
    merging = _merging(facts.offloads.on)
    if merging:
        yield f"{merging} is on: a driver turns it off under XDP, or refuses native mode"
    if facts.ports:
        names = ", ".join(port.name for port in facts.ports)
        yield f"attaching puts the program on each port: {names}"
    else:
        effect = _EFFECT.get(facts.driver, "may reset the link: whether this driver does is not known here")
        yield f"attaching {effect}"


def _place(facts: InterfaceFacts) -> Iterator[str]:
    """Yield what an interface is a part of: there, the same packets can be counted once more."""
    if facts.master:
        what = "bond" if facts.master.kind == "bond" else facts.master.kind or "master"
        yield f"a port of {what} {facts.master.name}: no program can be attached here after one there"
    if facts.lower:
        yield f"on top of {facts.lower.name}, where its packets are counted as well"


def _merging(offloads: frozenset[str]) -> str:
    """Return those that merge packets before XDP could see them."""
    return " and ".join(text for name, text in _MERGING.items() if name in offloads)


def _named(facts: InterfaceFacts) -> str:
    if facts.driver and facts.link.kind in ("", "veth", "tun"):
        return f"driver {facts.driver}"
    return f"interfaces of kind {facts.link.kind}" if facts.link.kind else "an interface without a driver"
