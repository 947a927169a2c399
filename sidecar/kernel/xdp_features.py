# SPDX-License-Identifier: Apache-2.0
"""
Ask the kernel what a driver can do with XDP, by the generic-netlink family `netdev` (Linux 6.3).

It needs no capability. Numbers follow the kernel's `include/uapi/linux/{genetlink,netdev}.h`.
"""

import errno
import struct
from enum import IntFlag

from sidecar.errors import KernelError, explain
from sidecar.kernel import netlink

_NETLINK_GENERIC = 16
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID = 1
_CTRL_ATTR_FAMILY_NAME = 2
_NETDEV_CMD_DEV_GET = 1
_NETDEV_A_DEV_IFINDEX = 1
_NETDEV_A_DEV_XDP_FEATURES = 3

_COMMAND = struct.Struct("=BBH")  # struct genlmsghdr


class XdpFeature(IntFlag):
    """`enum netdev_xdp_act`, as far as it matters here."""

    BASIC = 1
    """Native XDP."""
    RX_SG = 32
    """A packet may consist of several buffers, if the program is loaded with `frags`."""


def xdp_features(ifindex: int) -> XdpFeature | None:
    """
    Return what the driver of an interface in this network namespace can do; None if the kernel cannot say.

    Raises:
        KernelError: There is no such interface, or the answer is malformed.

    """
    what = f"ask for the XDP features of interface {ifindex}"
    try:
        family = _family("netdev")
        if family is None:
            return None
        found = _ask(family, _NETDEV_CMD_DEV_GET, _NETDEV_A_DEV_IFINDEX, struct.pack("=I", ifindex))
        (features,) = struct.unpack("=Q", found[_NETDEV_A_DEV_XDP_FEATURES])
    except OSError as error:
        raise KernelError(what, explain(error), "try again") from error
    except (struct.error, LookupError, ValueError) as error:
        raise KernelError(what, f"malformed answer ({error})", "try again") from error
    return XdpFeature(features & (XdpFeature.BASIC | XdpFeature.RX_SG))


def _family(name: str) -> int | None:
    """Return the number of a generic-netlink family, or None if the kernel does not have it."""
    try:
        found = _ask(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0")
    except OSError as error:
        # EPROTONOSUPPORT: no generic netlink at all.
        if error.errno in (errno.ENOENT, errno.EPROTONOSUPPORT):
            return None
        raise
    (number,) = struct.unpack("=H", found[_CTRL_ATTR_FAMILY_ID])
    return int(number)


def _ask(family: int, command: int, kind: int, value: bytes) -> dict[int, bytes]:
    """Return the attributes of the answer to a request with one attribute."""
    request = _COMMAND.pack(command, 1, 0) + netlink.attribute(kind, value)
    (answer,) = netlink.ask(_NETLINK_GENERIC, family, request)
    return dict(netlink.attributes(answer[_COMMAND.size :]))
