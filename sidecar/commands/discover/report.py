# SPDX-License-Identifier: Apache-2.0
"""An inventory as text for a terminal, or as JSON."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from sidecar.commands.discover import next_steps
from sidecar.commands.discover.model import FoundMap, Inventory, Program
from sidecar.commands.table import bold, table
from sidecar.describe.shape import Encoding, Part
from sidecar.errors import printable
from sidecar.kernel.pins import BPFFS
from sidecar.observe.summary import plural

WIDTH = 80
"""Columns that no line of the text exceeds; JSON has everything uncut."""

_WIDEST_PLACE, _WIDEST_NAME = 17, 15
_NO_BREAK = "\xa0"
_FIELDS_SHOWN = 24
# Arrays from this length on are shown as a range.
_SHORTEST_RANGE = 4


def lines(shown: Inventory, whole: Inventory) -> Iterator[str]:
    """Yield the lines of *shown*, the part of *whole* that the user asked for."""
    if shown.attachments or shown.elsewhere:
        yield from _program_table(shown, whole)
        yield ""
    for found in shown.maps:
        yield from _map(found, shown)
        yield ""
    if not shown.attachments and not shown.maps and not shown.is_limited:
        yield from _wrapped("No XDP or TCX program is attached.")
    yield from _not_shown(shown, whole)
    if best := next_steps.best(shown.maps):
        yield f"Next, for map {printable(best.info.name) or best.info.id}:"
        yield ""
        for words in next_steps.commands(best):
            yield from next_steps.for_shell(words, WIDTH, "  ")
    elif not shown.is_limited:
        yield from _wrapped("Next: `xdp-otel attach --interface IF` attaches the shipped program.")


def _not_shown(shown: Inventory, whole: Inventory) -> Iterator[str]:
    left_out = [
        (len(whole.programs()) - len(shown.programs()), "XDP or TCX program"),
        (len(whole.maps) - len(shown.maps), "map"),
    ]
    counts = [plural(count, what) for count, what in left_out if count > 0]
    if counts:
        yield from _wrapped(
            f"Not shown: {' and '.join(counts)} (--all); other network namespaces (--netns NAME)."
        )
        yield ""


def _program_table(shown: Inventory, whole: Inventory) -> Iterator[str]:
    names = {found.info.id: found.info.name for found in whole.maps}
    rows, maps = [], []
    for program, before in _roots(shown):
        for row, map_ids in _program_rows(program, before):
            rows.append(row)
            listed = ", ".join(names.get(number, "") or f"id {number}" for number in map_ids)
            maps.append(listed or ("?" if row[2] == "?" else "-"))
    yield bold("XDP and TCX programs" if _has_tcx(shown) else "XDP programs")
    header, *lines = table(("INTERFACE", "MODE", "PROGRAM", "ID"), rows, numbers=[3])
    yield f"  {header}  MAPS"
    width = max(map(len, (header, *lines)))
    for line, used in zip(lines, maps, strict=True):
        yield from _wrapped(printable(used, None), f"  {line:{width}}  ")
    if shown.elsewhere:
        yield from _wrapped("-: attached to no interface in this network namespace", "  ")
    if any(not program.name for program in shown.programs()):
        yield from _wrapped("?: names and maps of programs need CAP_SYS_ADMIN", "  ")


def _has_tcx(shown: Inventory) -> bool:
    return any(attachment.mode.startswith("tcx") for attachment in shown.attachments)


def _roots(shown: Inventory) -> Iterator[tuple[Program, tuple[str, str]]]:
    for attachment in shown.attachments:
        yield attachment.program, (_cut(attachment.where, _WIDEST_PLACE), attachment.mode)
    for program in shown.elsewhere:
        yield program, ("-", "-")


def _program_rows(
    program: Program, before: tuple[str, str]
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Yield the cells and the maps of a program, then of those that it calls."""
    yield (*before, _cut(program.name, _WIDEST_NAME) or "?", str(program.id)), program.map_ids
    for place, called in enumerate(program.under, 1):
        yield from _program_rows(called, ("", f"{place}. under it"))


def _map(found: FoundMap, shown: Inventory) -> Iterator[str]:
    name = bold(_cut(found.info.name, _WIDEST_NAME) or "-")
    yield f"Map {name}  id {found.info.id}  {found.kind}  {_entries(found)}"
    if found.refused:
        yield from _detail("not read", found.refused)
        return
    content = found.content
    info, shape = content.info, content.shape
    if found.inner:
        inside = f"maps such as {found.inner.info.name} (id {found.inner.info.id}), {found.inner.kind}"
        yield from _detail("inside", inside)
    if shape:
        yield from _detail("key", f"{info.key_size} B: {_fields(shape.key)}", fields=True)
        yield from _detail("value", f"{info.value_size} B: {_fields(shape.value)}", fields=True)
    else:
        yield from _detail("layout", f"unknown, {info.key_size} B → {info.value_size} B: {content.no_shape}")
    if users := shown.users(found.info.id):
        yield from _detail("used by", ", ".join(users))
    for pin in found.pins:
        if found.source != ("--map-path", str(pin)):
            yield from _detail("pin", str(pin))
    if not found.pins:
        name = re.sub(r"[^A-Za-z0-9_]", "_", found.info.name) or "map"
        yield from _detail("pin it", f"bpftool map pin id {found.info.id} {BPFFS / name}")
    yield from _detail("read it", " ".join(found.source))


def _detail(label: str, text: str, *, fields: bool = False) -> Iterator[str]:
    shown = printable(text, None)
    # A field stays on one line with its type.
    shown = re.sub("(?<!,) ", _NO_BREAK, shown) if fields else shown
    for line in _wrapped(shown, f"  {label:9}"):
        yield line.replace(_NO_BREAK, " ")


def _wrapped(text: str, before: str = "") -> Iterator[str]:
    """Yield *text* after *before*, in lines that leave the columns under *before* free."""
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=before,
        subsequent_indent=" " * len(before),
        break_on_hyphens=False,
    )


def _cut(text: str, width: int) -> str:
    shown = printable(text, None)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def _entries(found: FoundMap) -> str:
    if found.is_array or found.entries is None:
        return plural(found.info.max_entries, "key")
    return f"{'>' if found.more else ''}{found.entries:,} of {plural(found.info.max_entries, 'key')}"


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


def as_json(shown: Inventory, whole: Inventory, error: str | None = None) -> dict[str, object]:
    """Return *shown*, the part of *whole* that was asked for, as JSON values; *error*: what went wrong."""
    return {
        "interfaces": [
            {
                "interface": attachment.interface,
                "ifindex": attachment.ifindex,
                "netns": attachment.netns,
                "mode": attachment.mode,
                **_program_json(attachment.program),
            }
            for attachment in shown.attachments
        ],
        "elsewhere": [_program_json(program) for program in shown.elsewhere],
        "maps": [_map_json(found, whole) for found in shown.maps],
        "not_shown": {
            "programs": max(0, len(whole.programs()) - len(shown.programs())),
            "maps": max(0, len(whole.maps) - len(shown.maps)),
        },
        "notes": list(shown.notes),
        "error": error,
    }


def _program_json(program: Program) -> dict[str, object]:
    return {
        "program": program.name or None,
        "program_id": program.id,
        "map_ids": list(program.map_ids),
        "under": [_program_json(called) for called in program.under],
    }


def _map_json(found: FoundMap, inventory: Inventory) -> dict[str, object]:
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
        "flag": None if found.refused else list(found.source),
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
