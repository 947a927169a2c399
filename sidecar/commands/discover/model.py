# SPDX-License-Identifier: Apache-2.0
"""The inventory that `discover` collects (frozen values)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.describe.shape import Shape
from sidecar.kernel import pins
from sidecar.kernel.syscall import MapInfo


@dataclass(frozen=True)
class Program:
    """
    An XDP or TCX program, or a program that a dispatcher calls.

    Attributes:
        id: The kernel's id.
        name: Its name; empty if it may not be opened.
        map_ids: The ids of the maps that it uses.
        under: The programs that it calls, in order, if it is a libxdp dispatcher.

    """

    id: int
    name: str = ""
    map_ids: tuple[int, ...] = ()
    under: "tuple[Program, ...]" = ()

    def family(self) -> "Iterator[Program]":
        """Yield the program and those that it calls."""
        yield self
        for program in self.under:
            yield from program.family()


@dataclass(frozen=True)
class Attachment:
    """
    A program attached to an interface.

    Attributes:
        netns: The network namespace as the user named it; None: ours.
        interface: The interface's name.
        ifindex: Its index.
        mode: native, generic or offload for XDP; tcx ingress or tcx egress.
        program: The program.

    """

    netns: str | None
    interface: str
    ifindex: int
    mode: str
    program: Program

    @property
    def where(self) -> str:
        """The interface, prefixed with its network namespace unless that is ours."""
        return f"{self.netns}:{self.interface}" if self.netns else self.interface


@dataclass(frozen=True)
class FoundMap:
    """
    A map, and how it can be read.

    Attributes:
        info: The kernel's `bpf_map_info`.
        entries: The number of its keys; None if they could not be counted.
        more: Whether it has more than *entries* keys: counting stops at a bound.
        shape: Its key and value by BTF; None without BTF.
        no_shape: Why *shape* is None.
        pins: The paths of its pins.
        refused: Why it cannot be read; empty if it can.
        inner: Of a map of maps, one of those inside it.
        on: An attachment on whose interface no other map has its name; None if there is none.

    """

    info: MapInfo
    entries: int | None = None
    more: bool = False
    shape: Shape | None = None
    no_shape: str = ""
    pins: tuple[Path, ...] = ()
    refused: str = ""
    inner: "FoundMap | None" = None
    on: Attachment | None = None

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
    def content(self) -> "FoundMap":
        """The map itself; of a map of maps, one of those inside it under the outer one's name."""
        if self.inner is None:
            return self
        return replace(self.inner, info=replace(self.inner.info, name=self.info.name))

    @property
    def source(self) -> tuple[str, ...]:
        """
        The flags, each before its value, that select it in `run`, `check`, `dump` and `top`.

        A pin needs the fewest rights, and as by its interface, a map that replaces it is found; an id is the
        last resort.
        """
        # What cannot be printed cannot be pasted either.
        printed = [pin for pin in self.pins if str(pin).isprintable()]
        own = [pin for pin in printed if pins.PIN_ROOT in pin.parents]
        if printed and printed[0] not in own:
            return "--map-path", str(printed[0])
        if own:
            return "--map-path", str(own[0])
        if self.on and not self.pins:
            netns = ("--netns", self.on.netns) if self.on.netns else ()
            return "--map-name", f"{self.on.interface}:{self.info.name}", *netns
        return "--map-id", str(self.info.id)


@dataclass(frozen=True)
class Inventory:
    """
    XDP and TCX programs, and maps.

    Attributes:
        attachments: The attached programs, by namespace and interface.
        elsewhere: XDP programs attached to none of these interfaces.
        maps: The maps of all these programs and the pinned maps, by id.
        notes: What could not be listed or opened, each as one line.
        interfaces: The names of all interfaces that were looked at.
        program_pins: The pins of programs, each with the program's id.
        is_limited: Programs may not be opened, so it is not known which of the maps are theirs.

    """

    attachments: tuple[Attachment, ...]
    elsewhere: tuple[Program, ...]
    maps: tuple[FoundMap, ...]
    notes: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    program_pins: tuple[tuple[Path, int], ...] = ()
    is_limited: bool = False

    def programs(self) -> tuple[Program, ...]:
        """Return all programs, each once, with those that a dispatcher calls."""
        roots = (*(attachment.program for attachment in self.attachments), *self.elsewhere)
        return tuple({program.id: program for root in roots for program in root.family()}.values())

    def users(self, map_id: int) -> tuple[str, ...]:
        """Return the names of the programs that use a map."""
        names = [program.name for program in self.programs() if map_id in program.map_ids]
        return tuple(dict.fromkeys(names))
