# SPDX-License-Identifier: Apache-2.0
"""
Two network namespaces, client and node, joined by a veth pair.

    client namespace                                       node namespace
    client0  192.0.2.1, 2001:db8::1   ── veth pair ──▶   node0  192.0.2.2, 2001:db8::2   (XDP counts here)

The addresses are those reserved for documentation (RFC 5737, RFC 3849): nothing here leaves the machine.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from demo.errors import DemoError
from demo.processes import run

CLIENT_INTERFACE = "client0"
NODE_INTERFACE = "node0"
CLIENT_IPV4 = "192.0.2.1"
CLIENT_IPV6 = "2001:db8::1"
NODE_IPV4 = "192.0.2.2"
NODE_IPV6 = "2001:db8::2"
MTU = 9000
"""Bytes. Frames longer than a page: the XDP program meets them as multi-buffer packets."""


@dataclass(frozen=True)
class Lab:
    """Names of the two network namespaces, unique to this process."""

    client: str
    node: str

    def plug(self) -> None:
        """Make the veth pair: the client's end is up, the node's end down."""
        pair = ("ip", "link", "add", CLIENT_INTERFACE, "netns", self.client, "type", "veth")
        run(*pair, "peer", "name", NODE_INTERFACE, "netns", self.node)
        for namespace, interface in ((self.client, CLIENT_INTERFACE), (self.node, NODE_INTERFACE)):
            # Without a link-local address the kernel's unasked chatter stays small.
            run("ip", "-n", namespace, "link", "set", interface, "addrgenmode", "none")
        _up(self.client, CLIENT_INTERFACE, CLIENT_IPV4, CLIENT_IPV6)

    def unplug(self) -> None:
        """Remove the veth pair, and all that is attached to it."""
        run("ip", "-n", self.node, "link", "delete", NODE_INTERFACE)

    def connect(self) -> None:
        """
        Bring up the node's end: from here on frames pass.

        Until then the client's end is up without carrier, and the kernel drops what it would send before any
        tap. So a tap bound to it and an XDP program attached to the node's end both see the very first frame.
        """
        for namespace, interface in ((self.client, CLIENT_INTERFACE), (self.node, NODE_INTERFACE)):
            # A kernel without multi-buffer XDP (before 5.18) refuses jumbo frames here: 1500 stays.
            with suppress(DemoError):
                run("ip", "-n", namespace, "link", "set", interface, "mtu", str(MTU))
        _up(self.node, NODE_INTERFACE, NODE_IPV4, NODE_IPV6)

    def dropped(self) -> int:
        """
        Return how many frames the client's end has thrown away.

        While there was no carrier: before the tap. Later: between tap and XDP program, because the node's end
        was full (drivers/net/veth.c, veth_xmit()).
        """
        said = run("ip", "-n", self.client, "-json", "-statistics", "link", "show", CLIENT_INTERFACE)
        dropped: int = json.loads(said)[0]["stats64"]["tx"]["dropped"]
        return dropped


@contextmanager
def lab(name: str = "demo") -> Iterator[Lab]:
    """
    Make the namespaces and the veth pair (the node's end down) and remove them in the end.

    *name* tells several labs of one process apart. Raises DemoError if the kernel refuses.
    """
    prefix = f"xdp-{name}-{os.getpid()}"
    made = Lab(client=f"{prefix}-client", node=f"{prefix}-node")
    with ExitStack() as cleanup:
        for namespace in (made.client, made.node):
            run("ip", "netns", "add", namespace)
            cleanup.callback(run, "ip", "netns", "delete", namespace)
        made.plug()
        yield made


def _up(namespace: str, interface: str, ipv4: str, ipv6: str) -> None:
    run("ip", "-n", namespace, "link", "set", interface, "up")
    run("ip", "-n", namespace, "address", "add", f"{ipv4}/24", "dev", interface)
    run("ip", "-n", namespace, "address", "add", f"{ipv6}/64", "dev", interface, "nodad")
