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
"""Bytes. Larger than a page, so that the XDP program receives multi-buffer packets."""


@dataclass(frozen=True)
class Lab:
    """Names of the two network namespaces, unique to this process."""

    client: str
    node: str

    def plug(self) -> None:
        """Create the veth pair, with the client's end up and the node's end down."""
        pair = ("ip", "link", "add", CLIENT_INTERFACE, "netns", self.client, "type", "veth")
        run(*pair, "peer", "name", NODE_INTERFACE, "netns", self.node)
        for namespace, interface in ((self.client, CLIENT_INTERFACE), (self.node, NODE_INTERFACE)):
            # Without a link-local address the kernel sends little traffic of its own.
            run("ip", "-n", namespace, "link", "set", interface, "addrgenmode", "none")
        _up(self.client, CLIENT_INTERFACE, CLIENT_IPV4, CLIENT_IPV6)

    def unplug(self) -> None:
        """Remove the veth pair, and all that is attached to it."""
        run("ip", "-n", self.node, "link", "delete", NODE_INTERFACE)

    def connect(self) -> None:
        """
        Bring up the node's end; from now on frames pass.

        Until then the client's end has no carrier, and the kernel drops its frames before they reach a tap.
        So a tap on it and an XDP program on the node's end both see the very first frame.
        """
        for namespace, interface in ((self.client, CLIENT_INTERFACE), (self.node, NODE_INTERFACE)):
            # A kernel without multi-buffer XDP (before 5.18) refuses jumbo frames: 1500 remains.
            with suppress(DemoError):
                run("ip", "-n", namespace, "link", "set", interface, "mtu", str(MTU))
        _up(self.node, NODE_INTERFACE, NODE_IPV4, NODE_IPV6)

    def dropped(self) -> int:
        """
        Return how many frames the client's end has dropped.

        Without carrier it drops them before the tap; later, between tap and XDP program, when the queue of
        the node's end is full (drivers/net/veth.c, veth_xmit()).
        """
        statistics = run("ip", "-n", self.client, "-json", "-statistics", "link", "show", CLIENT_INTERFACE)
        dropped: int = json.loads(statistics)[0]["stats64"]["tx"]["dropped"]
        return dropped


@contextmanager
def lab(name: str = "demo") -> Iterator[Lab]:
    """
    Create the namespaces and the veth pair (the node's end down); remove them on exit.

    *name* distinguishes several labs of one process. Raises DemoError if the kernel refuses.
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
