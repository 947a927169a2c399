# SPDX-License-Identifier: Apache-2.0
"""What `check` foretells for network cards; tests/kernel/test_forecast.py has what a test can attach to."""

import pytest

from sidecar.commands.check.forecast import Mode, describe, forecast
from sidecar.kernel.ethtool import Channels, Offloads
from sidecar.kernel.interface_facts import InterfaceFacts
from sidecar.kernel.netlink import Link
from sidecar.kernel.xdp_features import XdpFeature

NATIVE = XdpFeature.BASIC
MULTI_BUFFER = XdpFeature.BASIC | XdpFeature.RX_SG
NOTHING = XdpFeature(0)
LRO = Offloads(frozenset(["rx-lro"]))
GRO_HW = Offloads(frozenset(["rx-gro-hw"]))
FIXED = Offloads(frozenset(["rx-gro-hw"]), frozenset(["rx-gro-hw"]))
BRIDGE = Link(3, "br0", (), kind="bridge")


def card(driver, features=NATIVE, mtu=1500, **others):
    """Return the facts of a network card."""
    return InterfaceFacts(Link(2, "eth0", (), mtu=mtu), driver, features, **others)


@pytest.mark.parametrize(
    ("facts", "mode", "why"),
    [
        (card("ice", MULTI_BUFFER, 9000), Mode.NATIVE, "driver ice has it"),
        (card("ixgbe", mtu=3000), Mode.NATIVE, "driver ixgbe has it"),
        (card("ixgbe", mtu=9000), Mode.GENERIC, "driver ixgbe has native XDP only up to MTU 3050"),
        (card("ena", mtu=9001), Mode.GENERIC, "driver ena has native XDP only up to MTU 3498"),
        (card("ena", channels=Channels(4, 8)), Mode.NATIVE, "driver ena has it"),
        (
            card("ena", channels=Channels(8, 8)),
            Mode.GENERIC,
            "driver ena has native XDP only with at most 4 of its 8 queues (`ethtool -L`)",
        ),
        (
            card("mlx5_core", NOTHING, offloads=LRO),
            Mode.GENERIC,
            "no native XDP in driver mlx5_core while LRO is on: `ethtool -K` turns it off",
        ),
        (card("tg3", NOTHING), Mode.GENERIC, "no native XDP in driver tg3"),
        (card("virtio_net", offloads=GRO_HW), Mode.NATIVE, "driver virtio_net has it"),
        (
            card("virtio_net", offloads=FIXED),
            Mode.GENERIC,
            "the host's virtio-net device cannot turn GRO-HW off, as native XDP needs",
        ),
        (card("newnic", mtu=4000), Mode.EITHER, "driver newnic may refuse native mode with MTU 4000"),
        (card("ice", None), Mode.NATIVE, "driver ice has it"),
        (card("ice", None, 9000), Mode.EITHER, "driver ice may refuse native mode with MTU 9000"),
        (card("tg3", None), Mode.EITHER, "kernels before 6.3 do not say what driver tg3 can do"),
        (card("", NOTHING), Mode.GENERIC, "no native XDP in an interface without a driver"),
        (
            InterfaceFacts(Link(2, "v", (), kind="vlan"), "802.1Q VLAN Support"),
            Mode.GENERIC,
            "no native XDP in interfaces of kind vlan",
        ),
        (
            InterfaceFacts(Link(2, "b", (), kind="bond", bond_mode=1), features=None),
            Mode.EITHER,
            "kernels before 6.3 do not say whether a bond and its ports have native XDP",
        ),
        (
            InterfaceFacts(
                Link(2, "b", (), kind="bond", bond_mode=1), ports=(Link(3, "p", (("native", 9),)),)
            ),
            Mode.GENERIC,
            "port p of the bond carries a program of its own",
        ),
    ],
)
def test_the_mode_and_why(facts, mode, why):
    """For the drivers of docs/attaching.md, on kernels that say what a driver can do and on others."""
    foretold = forecast(facts)

    assert (foretold.mode, foretold.why) == (mode, why)


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        (card("i40e"), "attaching resets the port: the link is down for a moment"),
        (card("newnic"), "attaching may reset the link: whether this driver does is not known here"),
        (card("ixgbe", offloads=LRO), "LRO is on: a driver turns it off under XDP, or refuses native mode"),
        (card("tg3", NOTHING, offloads=LRO), "attaching turns LRO off"),
        (card("virtio_net", offloads=FIXED), "attaching changes nothing else"),
        (
            InterfaceFacts(Link(2, "eth0", (), master=3), "ice", NATIVE, upper=(BRIDGE,)),
            "a port of bridge br0: no program can be attached here after one there",
        ),
        (
            InterfaceFacts(Link(2, "v", (), kind="vlan"), "vlan", NOTHING, lower=Link(3, "eth0", ())),
            "on top of eth0, where its packets are counted as well",
        ),
    ],
)
def test_what_else_to_know(facts, note):
    """What attaching does to the driver, what merges packets, and what the interface is a part of."""
    assert note in forecast(facts).notes


def test_an_interface_is_described_in_a_line():
    """Queues are left out if the driver does not say."""
    assert describe(card("ice", channels=Channels(8, 16)), 32) == (
        "driver ice, MTU 1500, receive queues 8 of 16, CPUs 32"
    )
    assert describe(card(""), 2) == "driver unknown, MTU 1500, CPUs 2"
