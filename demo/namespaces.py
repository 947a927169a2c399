# SPDX-License-Identifier: Apache-2.0
"""
Two network namespaces, client and node, joined by a veth pair.

    client namespace                                       node namespace
    client0  192.0.2.1, 2001:db8::1   ── veth pair ──▶   node0  192.0.2.2, 2001:db8::2   (XDP counts here)

The addresses are those reserved for documentation (RFC 5737, RFC 3849): nothing here leaves the machine.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.interruption import pause
from demo.processes import run
from sidecar.kernel import netns

CLIENT_INTERFACE = "client0"
NODE_INTERFACE = "node0"
CLIENT_IPV4 = "192.0.2.1"
CLIENT_IPV6 = "2001:db8::1"
NODE_IPV4 = "192.0.2.2"
NODE_IPV6 = "2001:db8::2"
MTU = 9000
"""Bytes. Larger than a page, so that the XDP program receives multi-buffer packets."""

_CARRIER_WITHIN_S = 10


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
        _allow_ipv6(self.client, CLIENT_INTERFACE, allowed=False)
        run("ip", "-n", self.client, "link", "set", CLIENT_INTERFACE, "up")
        run("ip", "-n", self.client, "address", "add", f"{CLIENT_IPV4}/24", "dev", CLIENT_INTERFACE)

    def unplug(self) -> None:
        """Remove the veth pair, and all that is attached to it."""
        run("ip", "-n", self.node, "link", "delete", NODE_INTERFACE)

    def connect(self) -> None:
        """
        Bring up the node's end; from now on frames pass.

        Until then the client's end has no carrier, and the kernel drops its frames before they reach a tap.
        So a tap on it and an XDP program on the node's end both see the very first frame. A TCX program on
        the client's end sees what is dropped, too: so IPv6, which sends of its own, comes last.
        """
        # Without multi-buffer XDP (before 5.18) the kernel refuses 9000, and only on the client's end:
        # then both keep 1500, because a frame that is larger than the receiver's MTU is dropped.
        with suppress(DemoError):
            for namespace, interface in ((self.client, CLIENT_INTERFACE), (self.node, NODE_INTERFACE)):
                run("ip", "-n", namespace, "link", "set", interface, "mtu", str(MTU))
        run("ip", "-n", self.node, "link", "set", NODE_INTERFACE, "up")
        run("ip", "-n", self.node, "address", "add", f"{NODE_IPV4}/24", "dev", NODE_INTERFACE)
        _add_ipv6(self.node, NODE_INTERFACE, NODE_IPV6)
        deadline = time.monotonic() + _CARRIER_WITHIN_S
        while _shown(self.client, CLIENT_INTERFACE)["operstate"] != "UP":
            if time.monotonic() > deadline:
                raise DemoError(f"cannot connect the veth pair: no carrier after {_CARRIER_WITHIN_S} s")
            pause(0.02)
        _allow_ipv6(self.client, CLIENT_INTERFACE, allowed=True)
        _add_ipv6(self.client, CLIENT_INTERFACE, CLIENT_IPV6)

    def dropped(self) -> int:
        """
        Return how many frames the client's end has dropped.

        Without carrier it drops them before the tap; later, between tap and XDP program, when the queue of
        the node's end is full (drivers/net/veth.c, veth_xmit()).
        """
        dropped: int = _shown(self.client, CLIENT_INTERFACE)["stats64"]["tx"]["dropped"]
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


def _shown(namespace: str, interface: str) -> dict[str, Any]:
    """Return what iproute2 shows of an interface."""
    shown: list[dict[str, Any]] = json.loads(
        run("ip", "-n", namespace, "-json", "-statistics", "link", "show", interface)
    )
    return shown[0]


def _allow_ipv6(namespace: str, interface: str, *, allowed: bool) -> None:
    with netns.entered(namespace):
        Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text(str(int(not allowed)))


def _add_ipv6(namespace: str, interface: str, address: str) -> None:
    run("ip", "-n", namespace, "address", "add", f"{address}/64", "dev", interface, "nodad")
