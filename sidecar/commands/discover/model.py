# SPDX-License-Identifier: Apache-2.0
"""What `discover` finds (frozen values)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidecar.describe.shape import Shape
from sidecar.kernel import pins
from sidecar.kernel.syscall import MapInfo


@dataclass(frozen=True)
class Program:
    """
    An XDP program, or one that a dispatcher calls.

    Attributes:
        id: Its id.
        name: Its name; empty if it may not be opened.
        map_ids: The maps that it uses.
        under: The programs that this one, a libxdp dispatcher, calls, in their order.

    """

    id: int
    name: str = ""
    map_ids: tuple[int, ...] = ()
    under: "tuple[Program, ...]" = ()

    def family(self) -> "Iterator[Program]":
        """Yield the program and those under it."""
        yield self
        for program in self.under:
            yield from program.family()


@dataclass(frozen=True)
class Attachment:
    """A program on an interface; *mode* is native, generic or offload."""

    netns: str | None
    interface: str
    ifindex: int
    mode: str
    program: Program

    @property
    def where(self) -> str:
        """The interface, after its namespace if it is in another than ours."""
        return f"{self.netns}:{self.interface}" if self.netns else self.interface


@dataclass(frozen=True)
class FoundMap:
    """
    A map, and how it can be read.

    Attributes:
        info: What the kernel says of it.
        entries: How many keys it has; None if that was not to be had.
        more: There are more than that: a large hash is not counted only to show it.
        shape: Its key and value by BTF; None if it has none.
        no_shape: Why not.
        pins: Where it is pinned.
        refused: Why it cannot be read; empty if it can.

    """

    info: MapInfo
    entries: int | None = None
    more: bool = False
    shape: Shape | None = None
    no_shape: str = ""
    pins: tuple[Path, ...] = ()
    refused: str = ""

    @property
    def kind(self) -> str:
        """The map's type, as the kernel's header names it."""
        return self.info.kind.name

    @property
    def is_array(self) -> bool:
        """Whether all its keys are always there."""
        return self.info.kind.is_array

    @property
    def supported(self) -> bool:
        """Whether xdp-otel reads maps of this type."""
        return self.info.kind.is_readable

    @property
    def source(self) -> tuple[str, str]:
        """
        The flag that names it to `run`, `check`, `dump` and `top`, and the flag's value.

        A pin needs the least rights and survives a restart; an id is the last resort.
        """
        own = [pin for pin in self.pins if pins.PIN_ROOT in pin.parents]
        if self.pins and self.pins[0] not in own:
            return "--map-path", str(self.pins[0])
        return ("--map-path", str(own[0])) if own else ("--map-id", str(self.info.id))


@dataclass(frozen=True)
class Inventory:
    """
    What was found.

    Attributes:
        attachments: By namespace and interface.
        elsewhere: XDP programs on no interface that was looked at.
        maps: Those of the programs above and those that are pinned, by id.
        notes: What the rights did not allow to see.

    """

    attachments: tuple[Attachment, ...]
    elsewhere: tuple[Program, ...]
    maps: tuple[FoundMap, ...]
    notes: tuple[str, ...] = ()

    def users(self, map_id: int) -> tuple[str, ...]:
        """Return the names of the programs that use a map."""
        roots = (*(one.program for one in self.attachments), *self.elsewhere)
        found = {one.id: one.name for root in roots for one in root.family() if map_id in one.map_ids}
        return tuple(dict.fromkeys(found.values()))
