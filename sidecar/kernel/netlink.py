# SPDX-License-Identifier: Apache-2.0
"""
List the interfaces of this network namespace with their XDP programs, by rtnetlink.

One RTM_GETLINK request over a plain socket, which needs no capability. Numbers and layouts follow the
kernel's `include/uapi/linux/{netlink,rtnetlink,if_link}.h`.
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
_NLM_F_REQUEST = 0x1
_NLM_F_DUMP = 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_IFLA_IFNAME = 3
_IFLA_XDP = 43
_IFLA_XDP_ATTACHED = 2
_IFLA_XDP_PROG_ID = 4
# By the attribute that holds the program's id; a single program has it in IFLA_XDP_PROG_ID as well.
_MODES = {5: "native", 6: "generic", 7: "offload"}
_ATTACHED = {1: "native", 2: "generic", 3: "offload"}
_ATTRIBUTE_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_HEADER = struct.Struct("=IHHII")
_INTERFACE = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_BUFFER_BYTES = 1 << 20
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Link:
    """An interface, and its XDP programs as pairs of mode and program id."""

    ifindex: int
    name: str
    programs: tuple[tuple[str, int], ...]


def links() -> list[Link]:
    """Return the interfaces of this thread's network namespace; raise KernelError if the query fails."""
    with _errors("list interfaces by rtnetlink"):
        return [_link(body) for body in _ask(_NLM_F_DUMP)]


def programs_on(ifindex: int) -> tuple[int, ...] | None:
    """
    Return the ids of the XDP programs on an interface, or None if it does not exist.

    Raises:
        KernelError: The query fails.

    """
    with _errors(f"look up interface {ifindex} by rtnetlink"):
        try:
            (body,) = _ask(0, ifindex)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return tuple(program for _, program in _link(body).programs)


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


def _ask(flags: int, ifindex: int = 0) -> Iterator[bytes]:
    """Yield the payload of each message in the answer: one, unless the flags request a dump."""
    request = _INTERFACE.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _RTM_GETLINK, _NLM_F_REQUEST | flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE) as channel:
        channel.settimeout(_TIMEOUT_S)
        channel.send(header + request)
        while True:
            answer = channel.recv(_BUFFER_BYTES)
            at = 0
            while at < len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind == _NLMSG_DONE:
                    return
                if length < _HEADER.size:
                    raise LookupError(f"a message of {length} bytes")
                body = answer[at + _HEADER.size : at + length]
                if kind == _NLMSG_ERROR:
                    raise OSError(-_ERROR.unpack_from(body)[0], "rtnetlink")
                yield body
                if not flags:
                    return
                at += _aligned(length)


def _link(body: bytes) -> Link:
    _, _, ifindex, _, _ = _INTERFACE.unpack_from(body)
    attributes = dict(_attributes(body[_INTERFACE.size :]))
    name = attributes[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace")
    return Link(ifindex, name, tuple(_programs(dict(_attributes(attributes.get(_IFLA_XDP, b""))))))


def _programs(xdp: dict[int, bytes]) -> Iterator[tuple[str, int]]:
    programs = [(mode, xdp[kind]) for kind, mode in _MODES.items() if kind in xdp]
    attached = xdp.get(_IFLA_XDP_ATTACHED, b"\0")[0]
    if not programs and attached in _ATTACHED and _IFLA_XDP_PROG_ID in xdp:
        # Before Linux 4.19 only IFLA_XDP_ATTACHED has the mode.
        programs = [(_ATTACHED[attached], xdp[_IFLA_XDP_PROG_ID])]
    for mode, number in programs:
        yield mode, struct.unpack("=I", number)[0]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & _ATTRIBUTE_TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += max(_aligned(length), _ATTRIBUTE.size)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
