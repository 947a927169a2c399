# SPDX-License-Identifier: Apache-2.0
"""A network interface, and where its pins are in bpffs."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sidecar.errors import SourceError
from sidecar.kernel import libbpf, netns, pins
from sidecar.suggest import did_you_mean

_MAX_NAME_BYTES = 15  # IFNAMSIZ, without the NUL

Direction = Literal["receive", "transmit"]
"""Of packets, as seen from the interface: the values of OpenTelemetry's attribute `network.io.direction`."""

Counted = Literal["packets", "sizes"]
"""What a map of the shipped programs holds: packets by protocol, or a histogram of their sizes."""

_MAP_PINS: Mapping[tuple[Direction, Counted], str] = {
    ("receive", "packets"): libbpf.MAP_NAME,
    ("receive", "sizes"): libbpf.SIZES_MAP_NAME,
    ("transmit", "packets"): "transmit_map",
    ("transmit", "sizes"): "transmit_sizes_map",
}


GONE = -1
"""In place of the index of an interface that no longer exists: only the pin of its map is left."""

AUTO = "auto"
"""In place of a name: the interfaces that carry a default route."""


def is_pattern(name: str) -> bool:
    """Return whether *name* stands for any number of interfaces: a shell pattern, or `auto`."""
    return name == AUTO or any(char in name for char in "*?[")


def is_interface_name(name: str) -> bool:
    """Return whether an interface can have this name (net/core/dev.c, `dev_valid_name`)."""
    return 0 < len(name.encode()) <= _MAX_NAME_BYTES and not _has_forbidden(name)


def is_interface_name_or_pattern(text: str) -> bool:
    """Return whether *text* can name an interface, or stand for any number of them."""
    return is_interface_name(text) or (is_pattern(text) and not _has_forbidden(text))


def _has_forbidden(name: str) -> bool:
    return any(char in "/\0" or char.isspace() for char in name)


@dataclass(frozen=True)
class Interface:
    """
    One direction of an interface, where the shipped program counts.

    Attributes:
        name: The interface's name.
        netns: Its network namespace; None: the sidecar's own.
        direction: Which of its packets: both directions have the same directory of pins.
        index: Its index, by which it is found even if it was renamed; 0: it is found by its name; `GONE`.
        counted: Which map of the program.

    """

    name: str
    netns: str | None = None
    direction: Direction = "receive"
    index: int = field(default=0, compare=False)
    counted: Counted = "packets"

    def __str__(self) -> str:
        """Return `eth0`, `blue:eth0`, `eth0/transmit/sizes`: no interface's name has a colon or a slash."""
        return self._qualified + part_of(self.direction, self.counted)

    @property
    def packets(self) -> "Interface":
        """The same with the map of packets, which each program has."""
        return replace(self, counted="packets")

    @property
    def sizes(self) -> "Interface":
        """The same with the map of packet sizes, which a program may have."""
        return replace(self, counted="sizes")

    @property
    def in_both_directions(self) -> "tuple[Interface, Interface]":
        """The interface as it receives, and as it transmits."""
        return replace(self, direction="receive"), replace(self, direction="transmit")

    @property
    def _qualified(self) -> str:
        return f"{self.netns}:{self.name}" if self.netns else self.name

    @property
    def pin_directory(self) -> Path:
        """The directory in bpffs that holds the interface's pins; bpffs allows no dot in a name."""
        return pins.PIN_ROOT / self._qualified.replace("%", "%25").replace("/", "%2F").replace(".", "%2E")

    @classmethod
    def from_pin_name(cls, name: str) -> "Interface":
        """Return the interface whose pin directory has that name."""
        netns, colon, interface = name.rpartition(":")
        decoded = [
            text.replace("%2E", ".").replace("%2F", "/").replace("%25", "%") for text in (netns, interface)
        ]
        return cls(decoded[1], decoded[0] if colon else None)

    @property
    def map_pin(self) -> Path:
        """Where the map of counters is pinned."""
        return self.pin_directory / _MAP_PINS[self.direction, self.counted]

    @property
    def link_pin(self) -> Path:
        """Where the attachment is pinned."""
        return self.pin_directory / ("link" if self.direction == "receive" else "transmit_link")


def interfaces_with_pins() -> list[Interface]:
    """Return the interfaces, of all network namespaces, that have a directory of pins, as receivers."""
    try:
        names = [each.name for each in os.scandir(pins.PIN_ROOT) if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # none, or not ours to list
    found = (Interface.from_pin_name(name) for name in names if not name.startswith("reported-"))
    return sorted(found, key=str)


def part_of(direction: Direction, counted: Counted) -> str:
    """Return what follows an interface's name: nothing for received packets, else as `/transmit/sizes`."""
    return "".join(
        f"/{part}" for part, default in ((direction, "receive"), (counted, "packets")) if part != default
    )


def index_of(interface: Interface, what: str) -> int:
    """Return the index of the interface in the present network namespace, which is the interface's."""
    try:
        name = socket.if_indextoname(interface.index) if interface.index else interface.name
        return socket.if_nametoindex(name)
    except (OSError, OverflowError):  # the latter for `GONE`
        raise no_such_interface(what, interface) from None


def exists(interface: Interface) -> bool:
    """Return whether the interface is there, in its network namespace."""
    try:
        with netns.entered(interface.netns):
            index_of(interface, "")
    except SourceError:
        return False
    return True


def no_such_interface(what: str, interface: Interface) -> SourceError:
    """Return the error for an interface that the present network namespace does not have."""
    known = (name for _, name in socket.if_nameindex())
    where = f" in network namespace {interface.netns}" if interface.netns else ""
    remedy = did_you_mean(interface.name, known, "`ip link` shows the names")
    return SourceError(what, f"no such interface{where}", remedy)
