# SPDX-License-Identifier: Apache-2.0
"""What the kernel says about an interface that decides how an XDP program attaches to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.kernel import ethtool
from sidecar.kernel.ethtool import NO_OFFLOADS, Channels, Offloads
from sidecar.kernel.netlink import Link
from sidecar.kernel.xdp_features import XdpFeature, xdp_features

# Kinds whose IFLA_LINK is the interface below them; that of a veth is its peer, that of a tunnel its route.
_STACKED = frozenset(("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"))


@dataclass(frozen=True)
class InterfaceFacts:
    """
    An interface, and its neighbours in the same network namespace.

    Attributes:
        link: The interface.
        driver: Its driver; empty if it has none.
        features: What the driver can do with XDP; None on kernels that do not say (before 6.3).
        channels: Its receive queues; None if the driver does not say.
        offloads: The offloads that are on.
        upper: The interfaces on top of it: its bond or bridge, its VLANs, ….
        lower: The interface that it is stacked on.
        peer: The other end of a veth, unless that is in another network namespace.
        ports: The interfaces that belong to it, if it is a bond or bridge.

    """

    link: Link
    driver: str = ""
    features: XdpFeature | None = None
    channels: Channels | None = None
    offloads: Offloads = NO_OFFLOADS
    upper: tuple[Link, ...] = ()
    lower: Link | None = None
    peer: Link | None = None
    ports: tuple[Link, ...] = ()

    @property
    def master(self) -> Link | None:
        """The bond, bridge, … that it belongs to."""
        return next((link for link in self.upper if link.ifindex == self.link.master), None)


def facts_of(link: Link, links: Sequence[Link]) -> InterfaceFacts:
    """
    Return the facts of *link*, one of the *links* of this thread's network namespace.

    Raises:
        KernelError: The interface has disappeared.

    """
    related = next((other for other in links if other.ifindex == link.lower), None)
    return InterfaceFacts(
        link,
        driver=ethtool.driver(link.name),
        features=xdp_features(link.ifindex),
        channels=ethtool.channels(link.name),
        offloads=ethtool.offloads(link.name),
        upper=tuple(other for other in links if _is_on(other, link)),
        lower=related if link.kind in _STACKED else None,
        peer=related if link.kind == "veth" else None,
        ports=tuple(other for other in links if other.master == link.ifindex),
    )


def _is_on(other: Link, link: Link) -> bool:
    return other.ifindex == link.master or (other.kind in _STACKED and other.lower == link.ifindex)
