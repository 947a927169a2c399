# SPDX-License-Identifier: Apache-2.0
"""
Collect XDP and TCX programs and maps by interface, by id and by pin, as far as our rights reach.

Any user may list interfaces and the ids of their XDP programs (rtnetlink). Listing TCX programs needs
CAP_NET_ADMIN. Opening a program or a map by id needs CAP_SYS_ADMIN (kernel/bpf/syscall.c,
`bpf_map_get_fd_by_id`); without it only pins can be opened.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sidecar.commands.discover import maps, pins
from sidecar.commands.discover.model import Attachment, FoundMap, Inventory, Program
from sidecar.commands.discover.pins import Walk
from sidecar.errors import explain
from sidecar.kernel import netlink, netns, uapi
from sidecar.kernel import syscall as bpf

_SCHED_CLS, _XDP, _EXT = 3, 6, 28  # enum bpf_prog_type
_TCX = {"tcx ingress": uapi.ATTACH_TCX_INGRESS, "tcx egress": uapi.ATTACH_TCX_EGRESS}
# libxdp pins the programs that the dispatcher with id ID on interface IFINDEX calls as
# xdp/dispatch-IFINDEX-ID/prog0-prog, prog1-prog and so on (xdp-tools, lib/libxdp/protocol.org).
_DISPATCHED = re.compile(r"dispatch-[0-9]+-([0-9]+)/prog([0-9]+)-prog$")


def collect(namespaces: Sequence[str] = ()) -> Inventory:
    """
    Return the inventory of our network namespace and of *namespaces*.

    Raises:
        SidecarError: A namespace cannot be entered, or its interfaces cannot be listed.

    """
    walk = pins.walk()
    pinned = {
        pin.path: program for pin in walk.pins if pin.kind == "program" for program in _pinned(pin.path)
    }
    listed, notes = _listed()
    known = _with_families(listed or {program.id: program for program in pinned.values()}, pinned)
    interfaces: list[str] = []
    attachments = tuple(_attachments((None, *namespaces), known, interfaces))
    attached = {program.id for attachment in attachments for program in attachment.program.family()}
    called = {program.id for dispatcher in known.values() for program in dispatcher.under}
    elsewhere = tuple(program for number, program in known.items() if number not in attached | called)
    roots = (*(attachment.program for attachment in attachments), *elsewhere)
    used = {map_id for root in roots for program in root.family() for map_id in program.map_ids}
    found = tuple(_placed(tuple(maps.examine(used, walk)), attachments))
    return Inventory(
        attachments,
        elsewhere,
        found,
        (*notes, *_walk_notes(walk), *_unopened(used, found)),
        interfaces=tuple(interfaces),
        program_pins=tuple((path, program.id) for path, program in pinned.items()),
        is_limited=bool(notes),
    )


def _placed(found: Sequence[FoundMap], attachments: Sequence[Attachment]) -> Iterator[FoundMap]:
    """Yield the maps, each with an interface on which it is known by its name, if there is one."""
    names = {each.info.id: each.info.name for each in found}
    maps_on: dict[str, set[int]] = {}
    for attachment in attachments:
        used = {map_id for program in attachment.program.family() for map_id in program.map_ids}
        maps_on.setdefault(attachment.where, set()).update(used)
    for each in found:
        name, number = each.info.name, each.info.id
        places = (
            attachment
            for attachment in attachments
            if [other for other in maps_on[attachment.where] if names.get(other) == name] == [number]
        )
        yield replace(each, on=next(places, None) if name.isprintable() and name else None)


def _listed() -> tuple[dict[int, Program], list[str]]:
    """Return the XDP programs by id, and a note if they may not be listed."""
    try:
        ids = list(bpf.prog_ids())
    except OSError as error:
        cause = explain(error)
        return {}, [
            f"cannot list programs and maps by id: {cause}: run with CAP_SYS_ADMIN; only pins are shown"
        ]
    return {program.id: program for number in ids for program in _by_id(number)}, []


def _by_id(number: int, types: Collection[int] = (_XDP, _EXT)) -> Iterator[Program]:
    try:
        fd = bpf.prog_fd_by_id(number)
    except OSError:
        return  # unloaded since it was listed, or a right is missing
    try:
        yield from _program(fd, types)
    finally:
        os.close(fd)


def _pinned(path: Path) -> Iterator[Program]:
    try:
        with pins.opened(path) as (fd, _):
            yield from _program(fd, (_XDP, _EXT))
    except OSError:
        return


def _program(fd: int, types: Collection[int]) -> Iterator[Program]:
    info = bpf.prog_info(fd)
    if info.type in types:
        yield Program(info.id, info.name, tuple(sorted(info.map_ids)))


def _with_families(programs: Mapping[int, Program], pinned: Mapping[Path, Program]) -> dict[int, Program]:
    """Return *programs*, each dispatcher with the programs that libxdp has pinned for it."""
    under: dict[int, dict[int, Program]] = {}
    for path, program in pinned.items():
        match = _DISPATCHED.search(str(path))
        if match:
            under.setdefault(int(match[1]), {})[int(match[2])] = program
    known = {**{number: Program(number) for number in under}, **programs}
    return {
        number: replace(program, under=_in_order(under.get(number, {}))) for number, program in known.items()
    }


def _in_order(by_place: Mapping[int, Program]) -> tuple[Program, ...]:
    return tuple(program for _, program in sorted(by_place.items()))


def _attachments(
    namespaces: Sequence[str | None], known: Mapping[int, Program], interfaces: list[str]
) -> Iterator[Attachment]:
    """Yield what is attached in each namespace, and add the names of its interfaces to *interfaces*."""
    for namespace in namespaces:
        with netns.entered(namespace):
            found = [
                (
                    link,
                    (*link.programs, *(item for mode in _TCX.items() for item in _tcx(link.ifindex, *mode))),
                )
                for link in netlink.links()
            ]
        for link, programs in found:
            interfaces.append(link.name)
            for mode, number in programs:
                program = known.get(number) or next(_by_id(number, (_SCHED_CLS,)), Program(number))
                yield Attachment(namespace, link.name, link.ifindex, mode, program)


def _tcx(ifindex: int, mode: str, attach_type: int) -> Iterator[tuple[str, int]]:
    try:
        for number in bpf.tcx_prog_ids(ifindex, attach_type):
            yield mode, number
    except OSError:
        return  # no such right, or a kernel before 6.6


def _walk_notes(walk: Walk) -> Iterator[str]:
    if walk.refused:
        others = f" and {len(walk.refused) - 1} more" if len(walk.refused) > 1 else ""
        what = f"{walk.refused[0]}{others}"
        yield f"cannot open {what}: EACCES (Permission denied): run as its owner, or as root"
    if walk.cut:
        yield "cannot list all of bpffs: it has too many pins, or is nested too deeply: use --map-path PIN"


def _unopened(used: set[int], found: Sequence[FoundMap]) -> Iterator[str]:
    unopened = sorted(used - {each.info.id for each in found})
    if unopened:
        ids = ", ".join(map(str, unopened))
        yield (
            f"cannot open map id {ids}: not pinned, and opening by id needs CAP_SYS_ADMIN: "
            "run with CAP_SYS_ADMIN, or pin the map"
        )
