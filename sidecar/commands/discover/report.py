# SPDX-License-Identifier: Apache-2.0
"""Say what was discovered: as a table, or as JSON (pure)."""

import re
from collections.abc import Iterator, Sequence

from sidecar.commands.discover.model import Attachment, FoundMap, Inventory, Program
from sidecar.commands.table import bold, table
from sidecar.describe.shape import Encoding, Part
from sidecar.errors import printable
from sidecar.kernel.pins import BPFFS

_NOTHING = (
    "No XDP program and no pinned map. `xdp-otel attach --interface IF` attaches the shipped program; "
    "--netns NAME looks into another network namespace."
)
# Fields of a map that are shown, and elements of an array from which on they are one of them.
_MOST_SHOWN = 24
_SHORTEST_RUN = 4


def lines(inventory: Inventory) -> Iterator[str]:
    """Yield the lines of the table."""
    if not inventory.attachments and not inventory.elsewhere and not inventory.maps:
        yield _NOTHING
    if inventory.attachments or inventory.elsewhere:
        yield bold("XDP programs")
        rows = [row for one in inventory.attachments for row in _attached(one, inventory)]
        rows += [row for one in inventory.elsewhere for row in _program(one, ("-", "-"), inventory)]
        header = ("INTERFACE", "MODE", "PROGRAM", "ID", "MAPS")
        yield from (f"  {line}" for line in table(header, rows, numbers=[3]))
        if inventory.elsewhere:
            yield "  -: on no interface of this network namespace; --netns NAME looks into another as well"
        yield ""
    yield from _map_lines(inventory)


def _attached(one: Attachment, inventory: Inventory) -> list[tuple[str, ...]]:
    return _program(one.program, (one.where, one.mode), inventory)


def _program(
    program: Program, before: tuple[str, str], inventory: Inventory, depth: int = 0
) -> list[tuple[str, ...]]:
    names = {one.info.id: one.info.name for one in inventory.maps}
    maps = ", ".join(names.get(number, "") or f"id {number}" for number in program.map_ids)
    name = program.name or "(name needs CAP_SYS_ADMIN)"
    row = (*before, "  " * depth + name, str(program.id), maps or "-")
    rows: list[tuple[str, ...]] = [row]
    for place, one in enumerate(program.under, 1):
        rows += _program(one, ("", f"{place}. under it"), inventory, depth + 1)
    return rows


def _map_lines(inventory: Inventory) -> Iterator[str]:
    if not inventory.maps:
        return
    yield bold("Maps")
    header = ("MAP", "ID", "KIND", "ENTRIES", "KEY", "VALUE", "READ IT WITH")
    rows = [
        (
            one.info.name or "-",
            str(one.info.id),
            one.kind,
            _entries(one),
            f"{one.info.key_size} B",
            f"{one.info.value_size} B",
            _how(one),
        )
        for one in inventory.maps
    ]
    first, *rest = table(header, rows, numbers=[1, 3, 4, 5])
    yield f"  {first}"
    for line, one in zip(rest, inventory.maps, strict=True):
        yield f"  {line}"
        yield from (f"      {printable(detail, None)}" for detail in _details(one))


def _entries(one: FoundMap) -> str:
    if one.is_array or one.entries is None:
        return f"{one.info.max_entries:,}"
    return f"{'>' if one.more else ''}{one.entries:,} of {one.info.max_entries:,}"


def _how(one: FoundMap) -> str:
    return f"not readable: {one.refused}" if one.refused else " ".join(one.source)


def _details(one: FoundMap) -> Iterator[str]:
    if one.shape:
        yield f"key    {_parts(one.shape.key)}"
        yield f"value  {_parts(one.shape.value)}"
    elif not one.refused:
        yield f"layout unknown: {one.no_shape}"
    if not one.pins and not one.refused:
        name = re.sub(r"[^A-Za-z0-9_]", "_", one.info.name) or "map"
        yield f"not pinned: `bpftool map pin id {one.info.id} {BPFFS / name}`, and fewer rights do"
    for pin in one.pins:
        if one.source != ("--map-path", str(pin)):
            yield f"pin    {pin}"


def _parts(parts: Sequence[Part]) -> str:
    said = [f"{one} {c_type(part)}" for one, part in _named(parts)]
    more = len(said) - _MOST_SHOWN
    return (
        ", ".join(said[:_MOST_SHOWN] + ([f"and {more:,} more: --json shows all"] if more > 0 else [])) or "-"
    )


def _named(parts: Sequence[Part]) -> Iterator[tuple[str, Part]]:
    """Yield the parts by name; the elements of an array together, `slots.0 … slots.31`."""
    at = 0
    while at < len(parts):
        end = at + 1
        while end < len(parts) and _is_next(parts[end - 1], parts[end]):
            end += 1
        if end - at < _SHORTEST_RUN:
            end = at + 1
        yield parts[at].name + (f" … {parts[end - 1].name}" if end > at + 1 else ""), parts[at]
        at = end


def _is_next(one: Part, other: Part) -> bool:
    array, _, index = one.name.rpartition(".")
    return index.isdigit() and other.name == f"{array}.{int(index) + 1}" and c_type(one) == c_type(other)


def c_type(part: Part) -> str:
    """Return the type of a part as C would have it, the bits of a bitfield included."""
    exact = part.encoding in (Encoding.UNSIGNED, Encoding.SIGNED, Encoding.ENUM, Encoding.BOOL)
    return f"{part.type}:{part.bits}" if exact and part.bits not in (8, 16, 32, 64) else part.type


def as_json(inventory: Inventory) -> dict[str, object]:
    """Return the same for programs to read; the keys are documented in docs/using-your-program.md."""
    return {
        "interfaces": [
            {"interface": one.interface, "ifindex": one.ifindex, "netns": one.netns, "mode": one.mode}
            | _program_json(one.program)
            for one in inventory.attachments
        ],
        "elsewhere": [_program_json(program) for program in inventory.elsewhere],
        "maps": [_map_json(one, inventory) for one in inventory.maps],
        "notes": list(inventory.notes),
    }


def _program_json(program: Program) -> dict[str, object]:
    return {
        "program": program.name or None,
        "program_id": program.id,
        "map_ids": list(program.map_ids),
        "under": [_program_json(below) for below in program.under],
    }


def _map_json(one: FoundMap, inventory: Inventory) -> dict[str, object]:
    flag, value = one.source
    return {
        "id": one.info.id,
        "name": one.info.name,
        "kind": one.kind,
        "key_size": one.info.key_size,
        "value_size": one.info.value_size,
        "max_entries": one.info.max_entries,
        "entries": one.entries,
        "more_entries": one.more,
        "key": [_part_json(part) for part in one.shape.key] if one.shape else None,
        "value": [_part_json(part) for part in one.shape.value] if one.shape else None,
        "no_layout": one.no_shape or None,
        "pins": [str(pin) for pin in one.pins],
        "programs": list(inventory.users(one.info.id)),
        "readable": not one.refused,
        "refused": one.refused or None,
        "flag": None if one.refused else [flag, value],
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
