# SPDX-License-Identifier: Apache-2.0
"""
What ethtool(8) shows of an interface: its driver, its queues, its offloads.

By the ioctl SIOCETHTOOL, which needs no capability for these questions, in this thread's network namespace.
Numbers and layouts follow the kernel's `include/uapi/linux/{ethtool,sockios}.h`.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x03
_GCHANNELS = 0x3C
_GSSET_INFO = 0x37
_GSTRINGS = 0x1B
_GFEATURES = 0x3A
_SS_FEATURES = 4
_STRING_BYTES = 32

_REQUEST = struct.Struct("=16sQ")  # struct ifreq, as far as the pointer in it
_REQUEST_BYTES = 40
_DRVINFO_BYTES = 196
_CHANNELS = struct.Struct("=9I")
_FEATURE_BLOCK = struct.Struct("=4I")  # available, requested, active, never changed


@dataclass(frozen=True)
class Channels:
    """How many queues receive, now and at most; the combined ones included."""

    receiving: int
    most: int


@dataclass(frozen=True)
class Offloads:
    """
    Which offloads are on, by their names in the kernel: `rx-lro`, `rx-gro-hw`, ….

    Attributes:
        on: All of them.
        fixed: Those that cannot be turned off.

    """

    on: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()


NO_OFFLOADS = Offloads()


def driver(name: str) -> str:
    """Return the name of an interface's driver; empty if the kernel does not say."""
    answer = _ask(name, struct.pack("=I", _GDRVINFO), _DRVINFO_BYTES)
    return _text(answer[4:36]) if answer else ""


def channels(name: str) -> Channels | None:
    """Return the receive queues of an interface; None if its driver does not say."""
    answer = _ask(name, struct.pack("=I", _GCHANNELS), _CHANNELS.size)
    if not answer:
        return None
    _, most_rx, _, _, most_combined, rx, _, _, combined = _CHANNELS.unpack(answer)
    return Channels(rx + combined, max(most_rx, most_combined))


def offloads(name: str) -> Offloads:
    """Return the offloads of an interface; none if its driver does not say."""
    answer = _ask(name, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_FEATURES, 0), 20)
    if not answer:
        return NO_OFFLOADS
    count = struct.unpack_from("=I", answer, 16)[0]
    texts = _ask(name, struct.pack("=3I", _GSTRINGS, _SS_FEATURES, count), 12 + count * _STRING_BYTES)
    blocks = (count + 31) // 32
    answer = _ask(name, struct.pack("=2I", _GFEATURES, blocks), 8 + blocks * _FEATURE_BLOCK.size)
    if not (texts and answer):
        return NO_OFFLOADS
    available, active = 0, 0
    for at in range(blocks):
        changeable, _, on, _ = _FEATURE_BLOCK.unpack_from(answer, 8 + at * _FEATURE_BLOCK.size)
        available |= changeable << 32 * at
        active |= on << 32 * at
    starts = range(12, 12 + count * _STRING_BYTES, _STRING_BYTES)
    names = [_text(texts[start : start + _STRING_BYTES]) for start in starts]
    return Offloads(_chosen(names, active), _chosen(names, active & ~available))


def _chosen(names: Sequence[str], mask: int) -> frozenset[str]:
    return frozenset(name for at, name in enumerate(names) if mask >> at & 1)


def _ask(name: str, request: bytes, size: int) -> bytes:
    """Return the answer, of *size* bytes; empty if there is none: the driver, or a sandbox, refuses."""
    buffer = ctypes.create_string_buffer(request, size)
    ifreq = _REQUEST.pack(name.encode(), ctypes.addressof(buffer)).ljust(_REQUEST_BYTES, b"\0")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            fcntl.ioctl(channel, _SIOCETHTOOL, ifreq)
    except OSError:
        return b""
    return buffer.raw


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")
