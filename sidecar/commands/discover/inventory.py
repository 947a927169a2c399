# SPDX-License-Identifier: Apache-2.0
"""
Take stock of XDP programs and of maps: by interface, by id and by pin, as far as the rights reach.

Interfaces and the ids of their programs may be seen by anybody (rtnetlink). To open a program or a map by
its id the kernel wants CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_map_get_fd_by_id`); without, pins remain.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sidecar.commands.discover import maps, pins
from sidecar.commands.discover.model import Attachment, FoundMap, Inventory, Program
from sidecar.commands.discover.pins import Walk
from sidecar.errors import explain
from sidecar.kernel import netlink, netns
from sidecar.kernel import syscall as bpf

_XDP, _EXT = 6, 28  # enum bpf_prog_type
# libxdp pins what runs under the dispatcher with id ID on interface IFINDEX as
# xdp/dispatch-IFINDEX-ID/prog0-prog, prog1-prog and so on (xdp-tools, lib/libxdp/protocol.org).
_DISPATCHED = re.compile(r"dispatch-[0-9]+-([0-9]+)/prog([0-9]+)-prog$")


def take(namespaces: Sequence[str] = ()) -> Inventory:
    """
    Take stock of our own network namespace and of *namespaces*.

    Raises:
        SidecarError: A namespace cannot be entered, or the kernel does not list its interfaces.

    """
    walk = pins.walk()
    pinned = {
        pin.path: program for pin in walk.pins if pin.kind == "program" for program in _pinned(pin.path)
    }
    listed, notes = _listed()
    known = _with_families(listed or {one.id: one for one in pinned.values()}, pinned)
    attachments = tuple(_attachments((None, *namespaces), known))
    shown = {program.id for one in attachments for program in one.program.family()}
    inner = {below.id for program in known.values() for below in program.under}
    elsewhere = tuple(program for number, program in known.items() if number not in shown | inner)
    roots = (*(one.program for one in attachments), *elsewhere)
    wanted = {number for root in roots for program in root.family() for number in program.map_ids}
    examined = tuple(maps.examine(wanted, walk))
    remarks = (*notes, *_refused(walk), *_missing(wanted, examined))
    return Inventory(attachments, elsewhere, examined, remarks)


def _listed() -> tuple[dict[int, Program], list[str]]:
    """Return the XDP programs by id, and what to say if they may not be listed."""
    try:
        ids = list(bpf.prog_ids())
    except OSError as error:
        note = f"list programs and maps by id: {explain(error)}: run with CAP_SYS_ADMIN; only pins are shown"
        return {}, [note]
    return {program.id: program for number in ids for program in _opened_by_id(number)}, []


def _opened_by_id(number: int) -> Iterator[Program]:
    try:
        fd = bpf.prog_fd_by_id(number)
    except OSError:
        return  # ended between the listing and the opening
    try:
        yield from _xdp_program(fd)
    finally:
        os.close(fd)


def _pinned(path: Path) -> Iterator[Program]:
    try:
        with pins.opened(path) as (fd, _):
            yield from _xdp_program(fd)
    except OSError:
        return


def _xdp_program(fd: int) -> Iterator[Program]:
    info = bpf.prog_info(fd)
    if info.type in (_XDP, _EXT):
        yield Program(info.id, info.name, tuple(sorted(info.map_ids)))


def _with_families(programs: Mapping[int, Program], pinned: Mapping[Path, Program]) -> dict[int, Program]:
    """Return *programs*, each dispatcher with what libxdp has pinned as being under it."""
    under: dict[int, dict[int, Program]] = {}
    for path, program in pinned.items():
        match = _DISPATCHED.search(str(path))
        if match:
            under.setdefault(int(match[1]), {})[int(match[2])] = program
    known = {**{number: Program(number) for number in under}, **programs}
    return {
        number: replace(program, under=tuple(below for _, below in sorted(under.get(number, {}).items())))
        for number, program in known.items()
    }


def _attachments(namespaces: Sequence[str | None], known: Mapping[int, Program]) -> Iterator[Attachment]:
    for namespace in namespaces:
        with netns.entered(namespace):
            links = netlink.links()
        for link in links:
            for mode, number in link.programs:
                program = known.get(number, Program(number))
                yield Attachment(namespace, link.name, link.ifindex, mode, program)


def _refused(walk: Walk) -> Iterator[str]:
    if walk.refused:
        others = f" and {len(walk.refused) - 1} more" if len(walk.refused) > 1 else ""
        yield f"open {walk.refused[0]}{others}: EACCES (Permission denied): run as its owner, or as root"
    if walk.cut:
        yield "look through bpffs: there is more in it than is looked at: name the pin by --map-path"


def _missing(wanted: set[int], maps: Sequence[FoundMap]) -> Iterator[str]:
    missing = sorted(wanted - {one.info.id for one in maps})
    if missing:
        ids = ", ".join(map(str, missing))
        yield f"open map id {ids}: not pinned, and by id only CAP_SYS_ADMIN may: run with it, or pin the map"
