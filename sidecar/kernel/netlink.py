# SPDX-License-Identifier: Apache-2.0
"""
The interfaces of this network namespace, their XDP programs and the default routes, by rtnetlink.

Requests, and messages about changes, over a plain socket, which needs no capability. Numbers and layouts
follow the kernel's `include/uapi/linux/{netlink,rtnetlink,if,if_link}.h`. `ask` speaks to other families too.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sidecar.errors import KernelError, explain

_NETLINK_ROUTE = 0
_RTM_GETLINK = 18
_RTM_GETROUTE = 26
# Multicast groups, as bits of the address.
_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_ROUTE = 0x40
_RTMGRP_IPV6_ROUTE = 0x400
_IFF_LOOPBACK = 0x8
_RTA_OIF = 4
_RTA_MULTIPATH = 9
_RTN_UNICAST = 1
_RT_TABLE_MAIN = 254
_NLM_F_REQUEST = 0x1
_NLM_F_DUMP = 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_LINK_NETNSID = 37
_IFLA_XDP = 43
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_BOND_MODE = 1
_IFLA_BOND_XMIT_HASH_POLICY = 14
_IFLA_XDP_ATTACHED = 2
_IFLA_XDP_PROG_ID = 4
# By the attribute that holds the program's id; a single program has it in IFLA_XDP_PROG_ID as well.
_MODES = {5: "native", 6: "generic", 7: "offload"}
_ATTACHED = {1: "native", 2: "generic", 3: "offload"}
_ATTRIBUTE_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_HEADER = struct.Struct("=IHHII")
_INTERFACE = struct.Struct("=BxHiII")
_ROUTE = struct.Struct("=8BI")
_NEXT_HOP = struct.Struct("=HBBi")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_U32 = struct.Struct("=I")
_BUFFER_BYTES = 1 << 20
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Link:
    """
    An interface, its XDP programs as pairs of mode and program id, and whether it is the loopback.

    Attributes:
        mtu: Its MTU, bytes.
        kind: Of a virtual interface: `veth`, `vlan`, `bond`, `bridge`, …; empty for a device.
        master: Index of the bond, bridge, … that it belongs to; 0 if there is none.
        lower: Index of the interface that it is stacked on, or of a veth's peer; 0 if there is none in this
            network namespace.
        bond_mode: Number of a bond's mode, as in `include/uapi/linux/if_bonding.h`; None for others.
        bond_hash: Number of a bond's transmit hash policy; None for others.

    """

    ifindex: int
    name: str
    programs: tuple[tuple[str, int], ...]
    is_loopback: bool = False
    mtu: int = 0
    kind: str = ""
    master: int = 0
    lower: int = 0
    bond_mode: int | None = None
    bond_hash: int | None = None


def links() -> list[Link]:
    """Return the interfaces of this thread's network namespace; raise KernelError if the query fails."""
    with _errors("list interfaces by rtnetlink"):
        return [_link(body) for body in ask(_NETLINK_ROUTE, _RTM_GETLINK, _interface(), _NLM_F_DUMP)]


def default_routes() -> set[int]:
    """
    Return the indices of the interfaces that carry a default route of the main table, IPv4 or IPv6.

    Raises:
        KernelError: The query fails.

    """
    request = bytes(_ROUTE.size)
    with _errors("list routes by rtnetlink"):
        return {
            ifindex
            for body in ask(_NETLINK_ROUTE, _RTM_GETROUTE, request, _NLM_F_DUMP)
            for ifindex in _next_hops(body)
        }


class Changes:
    """
    Learns that interfaces of a network namespace, or its routes, changed, without asking.

    Open it in the namespace: the socket stays there. Attributes:
        fd: Readable when there is something to take.

    """

    def __init__(self, *, of_routes: bool = True) -> None:
        """Listen from now on, also for changes *of_routes*; raise KernelError if that is not possible."""
        groups = _RTMGRP_LINK | (_RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_ROUTE if of_routes else 0)
        with _errors("listen for changes of interfaces by rtnetlink"):
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._channel = socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE)
            self._channel.bind((0, groups))
        self.fd = self._channel.fileno()

    def take(self) -> bool:
        """Return whether something changed since the last call, or messages were lost."""
        changed = False
        while True:
            try:
                self._channel.recv(_BUFFER_BYTES)
            except BlockingIOError:
                return changed
            except OSError:
                # ENOBUFS: there were more messages than the buffer holds; listing shows all.
                pass
            changed = True

    def close(self) -> None:
        """Stop listening."""
        self._channel.close()


def programs_on(ifindex: int) -> tuple[int, ...] | None:
    """
    Return the ids of the XDP programs on an interface, or None if it does not exist.

    Raises:
        KernelError: The query fails.

    """
    with _errors(f"look up interface {ifindex} by rtnetlink"):
        try:
            (body,) = ask(_NETLINK_ROUTE, _RTM_GETLINK, _interface(ifindex))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        # One attribute of fifty: all sources that a program fills ask in each cycle.
        xdp = next((data for kind, data in attributes(body[_INTERFACE.size :]) if kind == _IFLA_XDP), b"")
        return tuple(program for _, program in _programs(dict(attributes(xdp))))


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Raise KernelError in place of the errors of the block."""
    try:
        yield
    except TimeoutError:
        raise KernelError(what, f"no answer in {_TIMEOUT_S:g} s", "try again") from None
    except OSError as error:
        raise KernelError(what, explain(error), "try again") from error
    except (struct.error, LookupError) as error:
        raise KernelError(what, f"malformed answer ({error})", "try again") from error


def _interface(ifindex: int = 0) -> bytes:
    return _INTERFACE.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0)


def ask(family: int, kind: int, request: bytes, flags: int = 0) -> Iterator[bytes]:
    """
    Yield the payload of each message in the answer to a request: one, unless the flags request a dump.

    Raises:
        OSError: The kernel refused, with its errno.
        LookupError: The answer is malformed.

    """
    header = _HEADER.pack(_HEADER.size + len(request), kind, _NLM_F_REQUEST | flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as channel:
        channel.settimeout(_TIMEOUT_S)
        channel.send(header + request)
        while True:
            answer = channel.recv(_BUFFER_BYTES)
            at = 0
            while at < len(answer):
                length, answered, *_ = _HEADER.unpack_from(answer, at)
                if answered == _NLMSG_DONE:
                    return
                if length < _HEADER.size:
                    raise LookupError(f"a message of {length} bytes")
                body = answer[at + _HEADER.size : at + length]
                if answered == _NLMSG_ERROR:
                    raise OSError(-_ERROR.unpack_from(body)[0], "netlink")
                yield body
                if not flags:
                    return
                at += _aligned(length)


def _link(body: bytes) -> Link:
    _, _, ifindex, flags, _ = _INTERFACE.unpack_from(body)
    found = dict(attributes(body[_INTERFACE.size :]))
    info = dict(attributes(found.get(_IFLA_LINKINFO, b"")))
    kind = _text(info.get(_IFLA_INFO_KIND, b""))
    bond = dict(attributes(info.get(_IFLA_INFO_DATA, b""))) if kind == "bond" else {}
    return Link(
        ifindex,
        _text(found[_IFLA_IFNAME]),
        tuple(_programs(dict(attributes(found.get(_IFLA_XDP, b""))))),
        bool(flags & _IFF_LOOPBACK),
        mtu=_u32(found.get(_IFLA_MTU)),
        kind=kind,
        master=_u32(found.get(_IFLA_MASTER)),
        lower=0 if _IFLA_LINK_NETNSID in found else _u32(found.get(_IFLA_LINK)),
        bond_mode=bond[_IFLA_BOND_MODE][0] if _IFLA_BOND_MODE in bond else None,
        bond_hash=bond[_IFLA_BOND_XMIT_HASH_POLICY][0] if _IFLA_BOND_XMIT_HASH_POLICY in bond else None,
    )


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _u32(data: bytes | None) -> int:
    number: int = _U32.unpack(data)[0] if data else 0
    return number


def _next_hops(body: bytes) -> Iterator[int]:
    """Yield the interfaces of a route if it is a default route that forwards."""
    _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    if length or kind != _RTN_UNICAST or table != _RT_TABLE_MAIN:
        return
    found = dict(attributes(body[_ROUTE.size :]))
    if _RTA_OIF in found:
        yield _u32(found[_RTA_OIF])
    hops, at = found.get(_RTA_MULTIPATH, b""), 0
    while at + _NEXT_HOP.size <= len(hops):
        size, _, _, ifindex = _NEXT_HOP.unpack_from(hops, at)
        yield ifindex
        at += max(_aligned(size), _NEXT_HOP.size)


def _programs(xdp: dict[int, bytes]) -> Iterator[tuple[str, int]]:
    programs = [(mode, xdp[kind]) for kind, mode in _MODES.items() if kind in xdp]
    attached = xdp.get(_IFLA_XDP_ATTACHED, b"\0")[0]
    if not programs and attached in _ATTACHED and _IFLA_XDP_PROG_ID in xdp:
        # Before Linux 4.19 only IFLA_XDP_ATTACHED has the mode.
        programs = [(_ATTACHED[attached], xdp[_IFLA_XDP_PROG_ID])]
    for mode, number in programs:
        yield mode, _u32(number)


def attribute(kind: int, data: bytes) -> bytes:
    """Return one attribute of a message."""
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + bytes(_aligned(length) - length)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and payload of each attribute in a message, or in another attribute."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & _ATTRIBUTE_TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += max(_aligned(length), _ATTRIBUTE.size)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
