# SPDX-License-Identifier: Apache-2.0
"""Write the configuration of a discovered map: ready for `--config`, and for editing."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sidecar.commands.discover import maps, write_layout
from sidecar.commands.discover.alternatives import alternatives_to
from sidecar.commands.discover.model import FoundMap, Inventory
from sidecar.commands.discover.report import c_type
from sidecar.describe import defaults, guesses
from sidecar.describe.file import sources
from sidecar.describe.file.yaml_text import scalar as _scalar
from sidecar.describe.layout import shape_from
from sidecar.describe.matching import matching_profile
from sidecar.describe.outer import ATTRIBUTE
from sidecar.describe.prefixes import with_prefix
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import ARRAY_INDEX, Part, Shape
from sidecar.describe.spec import KeySpec, MapRef, MetricSpec, SourceSpec
from sidecar.errors import SidecarError, SourceError, printable
from sidecar.kernel import pins
from sidecar.kernel.uapi import OBJ_NAME_LEN
from sidecar.kinds import Kind

_FIELDS_SHOWN = 8


def for_map(inventory: Inventory, wanted: str, *, with_layout: bool = False) -> str:
    """
    Return a configuration that reads one map.

    Args:
        inventory: The inventory of this machine.
        wanted: The map's pin, name or id.
        with_layout: Include the layout, so that reading needs neither BTF nor the right to see it.

    Raises:
        SourceError: No map or several maps match, or the map cannot be read or has no number.

    """
    found = _chosen(inventory, wanted)
    if found.refused:
        raise SourceError(_step(found), found.refused, "`xdp-otel discover` shows which maps can be read")
    lines = [*_heading(found, inventory), "sources:", *_source(found, with_layout=with_layout)]
    # Escaped: a line feed in a name would end a comment.
    return "".join(f"{printable(line, None)}\n" for line in lines)


def _step(found: FoundMap) -> str:
    return f"write a configuration for map {found.info.name} (id {found.info.id})"


def _chosen(inventory: Inventory, wanted: str) -> FoundMap:
    what = f"write a configuration for map {wanted}"
    matching = _by_pin(inventory, wanted) if wanted.startswith("/") else _by_name_or_id(inventory, wanted)
    if not matching:
        cause = pins.DOTTED if wanted.startswith("/") and pins.is_dotted(Path(wanted)) else "no such map"
        raise SourceError(what, cause, "`xdp-otel discover` shows pins, names and ids")
    if len(matching) > 1:
        ids = ", ".join(f"id {found.info.id} ({found.kind})" for found in matching)
        raise SourceError(what, f"{len(matching)} maps have that name: {ids}", "use its pin or its id")
    return matching[0]


def _by_pin(inventory: Inventory, path: str) -> list[FoundMap]:
    """Return the map at a path, which the configuration keeps: the map may have pins in several bpffs."""
    number = maps.pinned_at(Path(path))
    return [replace(found, pins=(Path(path),)) for found in inventory.maps if found.info.id == number]


def _by_name_or_id(inventory: Inventory, wanted: str) -> list[FoundMap]:
    name = wanted[: OBJ_NAME_LEN - 1]
    number = int(wanted) if re.fullmatch("[0-9]{1,10}", wanted) else -1
    return (
        [found for found in inventory.maps if found.info.id == number]
        or [found for found in inventory.maps if found.info.name == name]
        or [found for found in maps.every() if found.info.name == name or found.info.id == number]
    )


def _heading(found: FoundMap, inventory: Inventory) -> Iterator[str]:
    users = ", ".join(inventory.users(found.info.id)) or "no visible XDP program"
    info = found.info
    yield f"# Map {info.name} (id {info.id}), {found.kind}, {info.max_entries:,} entries, used by {users}."
    yield "# Try it: xdp-otel check --config FILE --no-endpoint. All options: docs/configuration.md."


def _source(found: FoundMap, *, with_layout: bool) -> Iterator[str]:
    first, *more = _place(found)
    yield f"  - {first}"
    yield from (f"    {line}" for line in more)
    yield "    # attributes: {site: fra1}   # on every data point"
    if found.inner:
        yield f"    outer: {{key: [{{field: key, attribute: {ATTRIBUTE}}}]}}   # the key of the outer map"
    found = found.content
    profile = matching_profile(sources.built_in(), found.info, found.shape)
    if profile:
        if found.shape is None:
            yield f"    # {found.no_shape}, so this is a guess from its sizes: check that it fits."
        yield f"    profile: {profile.name}   # built in; `key:` and `metrics:` here override it"
    elif found.shape is None:
        yield from _without_btf(found)
    else:
        yield from _by_btf(found, found.shape, with_layout=with_layout)


def _without_btf(found: FoundMap) -> Iterator[str]:
    info = found.info
    section = write_layout.unknown(info.key_size, info.value_size, info.kind)
    written = shape_from(write_layout.read(section), ARRAY_INDEX, info.key_size, info.value_size)
    shape = with_prefix(written, info)
    yield f"    # {found.no_shape}, so these fields are a guess: name them as in the program's source."
    yield from (f"    {line}" for line in section)
    yield from _key_and_metrics(found, shape, enums=False)


def _by_btf(found: FoundMap, shape: Shape, *, with_layout: bool) -> Iterator[str]:
    section = write_layout.lines(shape)
    if with_layout:
        yield from (f"    {line}" for line in section or ["# Bit-fields and arrays of structs need BTF."])
    yield from _key_and_metrics(found, shape, enums=not with_layout)
    for part in shape.value:
        if part.refused:
            yield f"    # Left out: {part.name}: {part.refused}"
    if section and not with_layout:
        yield "    # Its fields are found by BTF, which needs CAP_SYS_ADMIN. To run without it:"
        yield from (f"    # {line}" for line in section)


def _place(found: FoundMap) -> Iterator[str]:
    flag, value, *_ = found.source
    names = [other.info.name for other in maps.every()]
    if flag == "--map-path":
        yield f"pin: {_scalar(value)}"
    elif found.info.name and names.count(found.info.name) == 1:
        yield f"name: {_scalar(found.info.name)}   # not pinned: a name needs CAP_SYS_ADMIN"
    elif found.on:
        yield f"interface: {_scalar(found.on.interface)}   # nothing is attached"
        if found.on.netns:
            yield f"netns: {_scalar(found.on.netns)}"
        yield f"map: {_scalar(found.info.name)}   # not pinned: this needs CAP_SYS_ADMIN"
    else:
        yield f"id: {found.info.id}   # not pinned: the id changes with each load"


def _key_and_metrics(found: FoundMap, shape: Shape, *, enums: bool) -> Iterator[str]:
    """Yield the sections that equal the defaults."""
    yield from _key(found, shape, enums=enums)
    yield from _metrics(found, shape)


def _key(found: FoundMap, shape: Shape, *, enums: bool) -> Iterator[str]:
    parts = {part.name: part for part in guesses.key_parts(shape.key)}
    key = defaults.key_of(found.info, shape)
    if key:
        yield "    key:   # each part becomes an attribute; over parts left out, counts are summed"
    for entry in key:
        yield from _key_entry(entry, parts[entry.field], enums=enums)


def _key_entry(entry: KeySpec, part: Part, *, enums: bool) -> Iterator[str]:
    decoder = entry.decoder
    others = alternatives_to(decoder, part)
    table = ""
    if decoder == "enum" and not enums:
        # A layout has no enums.
        decoder = "table"
        entries = ", ".join(f"{number}: {_scalar(name)}" for number, name in part.names.items())
        table = f", table: {{{entries}}}"
    names = f"field: {_scalar(part.name)}, attribute: {_scalar(entry.attribute)}"
    comment = "; or ".join(filter(None, (c_type(part), ", ".join(others))))
    yield f"      - {{{names}, decoder: {decoder}{table}}}   # {comment}"


def _metrics(found: FoundMap, shape: Shape) -> Iterator[str]:
    yield "    metrics:   # kind: counter, updowncounter (may fall), gauge or rate"
    fields = defaults.fields_of(shape.value, summed=found.info.kind.is_per_cpu)
    types = {part.name: c_type(part) for part in shape.value}
    why = {field.part.name: f"; by its name {field.why}" for field in fields if field.why}
    for metric in defaults.metrics_of(found.info, fields) if fields else _gauges(found, shape):
        yield f"      - name: {_scalar(metric.name)}"
        yield f"        field: {_scalar(metric.field)}   # {types[metric.field]}{why.get(metric.field, '')}"
        yield f"        kind: {metric.kind.word}"
        if metric.unit:
            yield f"        unit: {_scalar(metric.unit)}"
        yield f"        description: {_scalar(metric.description)}"
    for field in fields:
        if field.kind is None:
            yield f"    # Left out: {field.part.name} ({c_type(field.part)}): by its name {field.why}"


def _gauges(found: FoundMap, shape: Shape) -> list[MetricSpec]:
    """Return a gauge for each number of a value in which no field looks like a count."""
    every = defaults.metrics_of(found.info, [defaults.Field(part, Kind.GAUGE) for part in shape.value])
    gauges = [gauge for gauge in every if _resolves(gauge, found, shape)]
    if not gauges:
        raise SourceError(
            _step(found),
            f"no field of its value is a number that can be exported: {_fields(shape)}",
            "`xdp-otel discover` shows the other maps",
        )
    return gauges


def _fields(shape: Shape) -> str:
    shown = [f"{part.name} {c_type(part)}" for part in shape.value[:_FIELDS_SHOWN]]
    return ", ".join([*shown, "…"] if len(shape.value) > _FIELDS_SHOWN else shown) or "it has none"


def _resolves(metric: MetricSpec, found: FoundMap, shape: Shape) -> bool:
    spec = SourceSpec(MapRef("id", str(found.info.id)), key=(), metrics=(metric,))
    try:
        resolve(spec, found.info, shape)
    except SidecarError:
        return False
    return True
