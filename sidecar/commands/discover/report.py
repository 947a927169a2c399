# SPDX-License-Identifier: Apache-2.0
"""An inventory as tables, or as JSON (pure)."""

import re
from collections.abc import Iterator, Mapping, Sequence

from sidecar.commands.discover.model import FoundMap, Inventory, Program
from sidecar.commands.table import bold, table
from sidecar.describe.shape import Encoding, Part
from sidecar.errors import printable
from sidecar.kernel.pins import BPFFS

_NOTHING = (
    "No XDP program and no pinned map. `xdp-otel attach --interface IF` attaches the shipped program; "
    "--netns NAME includes another network namespace."
)
_FIELDS_SHOWN = 24
# Arrays from this length on are shown as a range.
_SHORTEST_RANGE = 4


def lines(inventory: Inventory) -> Iterator[str]:
    """Yield the lines of the tables of programs and maps."""
    if not inventory.attachments and not inventory.elsewhere and not inventory.maps:
        yield _NOTHING
    if inventory.attachments or inventory.elsewhere:
        yield from _program_table(inventory)
        yield ""
    if inventory.maps:
        yield from _map_table(inventory.maps)


def _program_table(inventory: Inventory) -> Iterator[str]:
    names = {found.info.id: found.info.name for found in inventory.maps}
    rows = [
        row
        for attachment in inventory.attachments
        for row in _program_rows(attachment.program, (attachment.where, attachment.mode), names)
    ]
    rows += [row for program in inventory.elsewhere for row in _program_rows(program, ("-", "-"), names)]
    yield bold("XDP programs")
    header = ("INTERFACE", "MODE", "PROGRAM", "ID", "MAPS")
    yield from (f"  {line}" for line in table(header, rows, numbers=[3]))
    if inventory.elsewhere:
        yield "  -: attached to no interface in this network namespace; --netns NAME includes another"


def _program_rows(
    program: Program, before: tuple[str, str], map_names: Mapping[int, str], depth: int = 0
) -> Iterator[tuple[str, ...]]:
    maps = ", ".join(map_names.get(number, "") or f"id {number}" for number in program.map_ids)
    name = program.name or "(name needs CAP_SYS_ADMIN)"
    yield (*before, "  " * depth + name, str(program.id), maps or "-")
    for place, called in enumerate(program.under, 1):
        yield from _program_rows(called, ("", f"{place}. under it"), map_names, depth + 1)


def _map_table(maps: Sequence[FoundMap]) -> Iterator[str]:
    yield bold("Maps")
    header = ("MAP", "ID", "KIND", "ENTRIES", "KEY", "VALUE", "READ IT WITH")
    first, *rest = table(header, [_map_row(found) for found in maps], numbers=[1, 3, 4, 5])
    yield f"  {first}"
    for line, found in zip(rest, maps, strict=True):
        yield f"  {line}"
        yield from (f"      {printable(detail, None)}" for detail in _details(found))


def _map_row(found: FoundMap) -> tuple[str, ...]:
    return (
        found.info.name or "-",
        str(found.info.id),
        found.kind,
        _entries(found),
        f"{found.info.key_size} B",
        f"{found.info.value_size} B",
        f"not readable: {found.refused}" if found.refused else " ".join(found.source),
    )


def _entries(found: FoundMap) -> str:
    if found.is_array or found.entries is None:
        return f"{found.info.max_entries:,}"
    return f"{'>' if found.more else ''}{found.entries:,} of {found.info.max_entries:,}"


def _details(found: FoundMap) -> Iterator[str]:
    if found.shape:
        yield f"key    {_fields(found.shape.key)}"
        yield f"value  {_fields(found.shape.value)}"
    elif not found.refused:
        yield f"layout unknown: {found.no_shape}"
    if not found.pins and not found.refused:
        name = re.sub(r"[^A-Za-z0-9_]", "_", found.info.name) or "map"
        yield f"not pinned; to read it with fewer rights: `bpftool map pin id {found.info.id} {BPFFS / name}`"
    for pin in found.pins:
        if found.source != ("--map-path", str(pin)):
            yield f"pin    {pin}"


def _fields(parts: Sequence[Part]) -> str:
    fields = [f"{name} {c_type(part)}" for name, part in _with_ranges(parts)]
    more = len(fields) - _FIELDS_SHOWN
    fields[_FIELDS_SHOWN:] = [f"and {more:,} more: --json shows all"] if more > 0 else []
    return ", ".join(fields) or "-"


def _with_ranges(parts: Sequence[Part]) -> Iterator[tuple[str, Part]]:
    """Yield the parts by name, with a long array as its first element: `slots.0 … slots.31`."""
    at = 0
    while at < len(parts):
        end = at + 1
        while end < len(parts) and _are_neighbours(parts[end - 1], parts[end]):
            end += 1
        if end - at < _SHORTEST_RANGE:
            end = at + 1
        yield parts[at].name + (f" … {parts[end - 1].name}" if end > at + 1 else ""), parts[at]
        at = end


def _are_neighbours(part: Part, following: Part) -> bool:
    array, _, index = part.name.rpartition(".")
    return (
        index.isdigit()
        and following.name == f"{array}.{int(index) + 1}"
        and c_type(part) == c_type(following)
    )


def c_type(part: Part) -> str:
    """Return the C type of a part, with the width of a bit-field: `__u32:5`."""
    exact = part.encoding in (Encoding.UNSIGNED, Encoding.SIGNED, Encoding.ENUM, Encoding.BOOL)
    return f"{part.type}:{part.bits}" if exact and part.bits not in (8, 16, 32, 64) else part.type


def as_json(inventory: Inventory) -> dict[str, object]:
    """Return the inventory as JSON values; docs/using-your-program.md documents the keys."""
    return {
        "interfaces": [
            {
                "interface": attachment.interface,
                "ifindex": attachment.ifindex,
                "netns": attachment.netns,
                "mode": attachment.mode,
                **_program_json(attachment.program),
            }
            for attachment in inventory.attachments
        ],
        "elsewhere": [_program_json(program) for program in inventory.elsewhere],
        "maps": [_map_json(found, inventory) for found in inventory.maps],
        "notes": list(inventory.notes),
    }


def _program_json(program: Program) -> dict[str, object]:
    return {
        "program": program.name or None,
        "program_id": program.id,
        "map_ids": list(program.map_ids),
        "under": [_program_json(called) for called in program.under],
    }


def _map_json(found: FoundMap, inventory: Inventory) -> dict[str, object]:
    flag, value = found.source
    return {
        "id": found.info.id,
        "name": found.info.name,
        "kind": found.kind,
        "key_size": found.info.key_size,
        "value_size": found.info.value_size,
        "max_entries": found.info.max_entries,
        "entries": found.entries,
        "more_entries": found.more,
        "key": [_part_json(part) for part in found.shape.key] if found.shape else None,
        "value": [_part_json(part) for part in found.shape.value] if found.shape else None,
        "no_layout": found.no_shape or None,
        "pins": [str(pin) for pin in found.pins],
        "programs": list(inventory.users(found.info.id)),
        "readable": not found.refused,
        "refused": found.refused or None,
        "flag": None if found.refused else [flag, value],
    }


def _part_json(part: Part) -> dict[str, object]:
    return {
        "name": part.name,
        "type": part.type,
        "bit_offset": part.bit_offset,
        "bits": part.bits,
        "encoding": part.encoding.value,
        "big_endian": part.big_endian,
        "aliases": list(part.aliases),
        "refused": part.refused or None,
    }
