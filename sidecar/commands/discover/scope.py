# SPDX-License-Identifier: Apache-2.0
"""Which part of an inventory the user asked for (pure)."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from sidecar.commands.discover.model import FoundMap, Inventory, Program
from sidecar.errors import SourceError
from sidecar.kernel.uapi import OBJ_NAME_LEN
from sidecar.suggest import did_you_mean, suggest


def attached(inventory: Inventory, patterns: Sequence[str] = ()) -> Inventory:
    """
    Return what is attached to interfaces (those that match one of *patterns*), and the maps in use.

    Where programs may not be opened, all maps stay: which of them are theirs is not known.

    Raises:
        SourceError: A pattern matches no interface.

    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in inventory.interfaces):
            remedy = did_you_mean(pattern, inventory.interfaces, "`ip link` shows the names")
            raise SourceError(f"list programs on {pattern}", "no such interface", remedy)
    attachments = tuple(
        attachment
        for attachment in inventory.attachments
        if not patterns or any(fnmatchcase(attachment.interface, pattern) for pattern in patterns)
    )
    used = _map_ids(program for one in attachments for program in one.program.family())
    maps = tuple(found for found in inventory.maps if inventory.is_limited or found.info.id in used)
    return replace(inventory, attachments=attachments, elsewhere=(), maps=maps)


def named(inventory: Inventory, name: str, other_maps: Callable[[], Iterable[FoundMap]]) -> Inventory:
    """
    Return the maps and programs that *name* names, by pin, name or id, with the programs or maps around them.

    Args:
        inventory: The inventory of this machine.
        name: A pin, or a directory of pins; a name, which the kernel cuts after 15 bytes; or the id of a map.
        other_maps: Yields the maps that are not in it, to be searched last.

    Raises:
        SourceError: There is no such map or program.

    """
    maps = [found for found in inventory.maps if _is_map(found, name)]
    programs = [program for program in inventory.programs() if _is_program(program, name, inventory)]
    if not maps and not programs:
        maps = [found for found in other_maps() if _is_map(found, name)]
    if not maps and not programs:
        raise SourceError(f"find {name}", "no such map, program or pin", suggest(name, _known(inventory)))
    chosen = {found.info.id for found in maps}
    ids = {program.id for program in programs}

    def concerns(root: Program) -> bool:
        return any(program.id in ids or chosen & {*program.map_ids} for program in root.family())

    used = _map_ids(programs)
    return replace(
        inventory,
        attachments=tuple(one for one in inventory.attachments if concerns(one.program)),
        elsewhere=tuple(program for program in inventory.elsewhere if concerns(program)),
        maps=(*maps, *(one for one in inventory.maps if one.info.id in used - chosen)),
    )


def _map_ids(programs: Iterable[Program]) -> set[int]:
    return {map_id for program in programs for map_id in program.map_ids}


def _is_map(found: FoundMap, name: str) -> bool:
    if name.startswith("/"):
        return any(_is_at(pin, name) for pin in found.pins)
    is_id = bool(re.fullmatch("[0-9]{1,10}", name)) and int(name) == found.info.id
    return is_id or found.info.name == _kept(name)


def _is_program(program: Program, name: str, inventory: Inventory) -> bool:
    if name.startswith("/"):
        return any(number == program.id and _is_at(pin, name) for pin, number in inventory.program_pins)
    return bool(program.name) and program.name == _kept(name)


def _is_at(pin: Path, path: str) -> bool:
    return Path(path) in (pin, *pin.parents)


def _kept(name: str) -> str:
    """Return as much of a name as the kernel keeps."""
    return name.encode()[: OBJ_NAME_LEN - 1].decode(errors="replace")


def _known(inventory: Inventory) -> list[str]:
    maps = [found.info.name for found in inventory.maps]
    programs = [program.name for program in inventory.programs()]
    return [name for name in (*maps, *programs) if name]
