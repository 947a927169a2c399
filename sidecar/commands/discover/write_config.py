# SPDX-License-Identifier: Apache-2.0
"""Write a configuration for one map that was discovered: ready for `--config`, and to be edited."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar.commands.discover import maps, write_layout
from sidecar.commands.discover.model import FoundMap, Inventory
from sidecar.commands.discover.pins import Walk
from sidecar.commands.discover.report import c_type
from sidecar.describe import decoders, defaults
from sidecar.describe.file import sources
from sidecar.describe.file.yaml_text import scalar as _scalar
from sidecar.describe.layout import shape_from
from sidecar.describe.matching import matching_profile
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import ARRAY_INDEX, Encoding, Part, Shape, covering_parts
from sidecar.describe.spec import KeySpec, MapRef, MetricSpec, SourceSpec
from sidecar.errors import ConfigError, SidecarError, SourceError, printable
from sidecar.kernel import pins
from sidecar.kernel import syscall as bpf
from sidecar.kinds import Kind

# What a field's name tells of its bytes; the first that fits wins, if its decoder can read them.
_GUESSES = (
    (re.compile(r"addr|(^|[._])[sd]?ip[46]?$|src$|dst$"), ("ipv4", "ipv6", "mac")),
    (re.compile(r"(^|[._])(e?mac|eth)"), ("mac",)),
    (re.compile(r"port$"), ("port",)),
    (re.compile(r"proto(col)?$"), ("protocol",)),
    (re.compile(r"ifindex|iface$"), ("ifname",)),
    (re.compile(r"action$"), ("xdp_action",)),
)
_UNITS = ((re.compile(r"byte|octet"), "By"), (re.compile(r"pa?c?ke?ts?|frames?"), "{packet}"))
_MOST_SHOWN = 8
# Decoders that can read nearly anything are not worth naming.
_OBVIOUS = frozenset(("enum", "table", "bool", "integer_be", "xdp_action", "ifname", "protocol"))
_OF_TEXT = frozenset(("text", "string"))


def for_map(inventory: Inventory, wanted: str, *, with_layout: bool = False) -> str:
    """
    Return a configuration that reads one map.

    Args:
        inventory: What was discovered.
        wanted: The map's pin, name or id.
        with_layout: Say the layout in it, so that BTF, and the right to see it, is not needed.

    Raises:
        SourceError: There is no such map, or several, or it cannot be read or counts nothing.

    """
    found = _chosen(inventory, wanted)
    if found.refused:
        raise SourceError(
            f"write a configuration for map {found.info.name} (id {found.info.id})",
            found.refused,
            "`xdp-otel discover` shows which maps can be read",
        )
    said = [*_heading(found, inventory), "sources:", *_source(found, with_layout=with_layout)]
    # A name in a comment must not end it.
    return "".join(f"{printable(line, None)}\n" for line in said)


def _chosen(inventory: Inventory, wanted: str) -> FoundMap:
    what = f"write a configuration for map {wanted}"
    if wanted.startswith("/"):
        found = [one for one in inventory.maps if wanted in map(str, one.pins)]
    else:
        number = int(wanted) if re.fullmatch("[0-9]{1,10}", wanted) else -1
        found = [one for one in inventory.maps if one.info.id == number]
        found = found or [one for one in inventory.maps if one.info.name == wanted[:15]]
        found = found or [one for one in _others() if wanted[:15] == one.info.name or one.info.id == number]
    if not found:
        cause = pins.DOTTED if wanted.startswith("/") and pins.is_dotted(Path(wanted)) else "no such map"
        raise SourceError(what, cause, "`xdp-otel discover` shows pins, names and ids")
    if len(found) > 1:
        ids = ", ".join(f"id {one.info.id} ({one.kind})" for one in found)
        raise SourceError(what, f"{len(found)} maps have that name: {ids}", "name its pin or its id")
    return found[0]


def _others() -> Iterator[FoundMap]:
    """Yield all maps of the kernel: also those that no XDP program uses and that are not pinned."""
    try:
        yield from maps.examine(set(bpf.map_ids()), Walk())
    except OSError:
        return


def _heading(found: FoundMap, inventory: Inventory) -> Iterator[str]:
    users = ", ".join(inventory.users(found.info.id)) or "no XDP program that can be seen"
    info = found.info
    yield f"# Map {info.name} (id {info.id}), {found.kind}, {info.max_entries:,} entries, used by {users}."
    yield "# Try it: xdp-otel check --config FILE --no-endpoint. All that can be said: docs/configuration.md."


def _source(found: FoundMap, *, with_layout: bool) -> Iterator[str]:
    yield f"  - {_place(found)}"
    yield "    # attributes: {site: fra1}   # on every point"
    profile = matching_profile(sources.built_in(), found.info, found.shape)
    if profile:
        if found.shape is None:
            yield f"    # {found.no_shape}, so this is a guess by its sizes: does it look right?"
        yield f"    profile: {profile.name}   # built in; `key:` and `metrics:` here go before it"
        return
    if found.shape is None:
        section = write_layout.unknown(found.info.key_size, found.info.value_size, is_array=found.is_array)
        yield f"    # {found.no_shape}, so these fields are a guess: name them as the program's source does."
        yield from (f"    {line}" for line in section)
        yield from _what(found, _guessed(section, found))
        return
    section = write_layout.lines(found.shape)
    if with_layout:
        yield from (f"    {line}" for line in section or ["# Bit-fields and arrays of structs need BTF."])
    yield from _what(found, found.shape, enums=not with_layout)
    for part in found.shape.value:
        if part.refused:
            yield f"    # Left out: {part.name}: {part.refused}"
    if section and not with_layout:
        yield "    # Its fields are found by BTF, which needs CAP_SYS_ADMIN. To do without:"
        yield from (f"    # {line}" for line in section)


def _guessed(section: Sequence[str], found: FoundMap) -> Shape:
    return shape_from(write_layout.read(section), ARRAY_INDEX, found.info.key_size, found.info.value_size)


def _place(found: FoundMap) -> str:
    flag, value = found.source
    if flag == "--map-path":
        return f"pin: {_scalar(value)}"
    names = [one.info.name for one in _others()]
    if found.info.name and names.count(found.info.name) == 1:
        return f"name: {_scalar(found.info.name)}   # not pinned: a name needs CAP_SYS_ADMIN"
    return f"id: {found.info.id}   # not pinned: the id is another one after each load"


def _what(found: FoundMap, shape: Shape, *, enums: bool = False) -> Iterator[str]:
    """Yield the key and the metrics that the map gets without a configuration, units and decoders guessed."""
    parts = {part.name: part for part in covering_parts(shape.key)}
    key = defaults.key_of(found.info, shape)
    if key:
        yield "    key:   # each part becomes an attribute; what is left out is added up"
    for one in key:
        part = parts[one.field]
        yield f"      - {{{_key(one, part, enums=enums)}}}   # {_alternatives(part)}"
    yield "    metrics:   # kind: counter, updowncounter (may fall), gauge or rate"
    fields = defaults.fields_of(shape.value, summed=found.info.kind.is_per_cpu)
    types = {part.name: c_type(part) for part in shape.value}
    why = {field.part.name: f"; by its name {field.why}" for field in fields if field.why}
    for metric in defaults.metrics_of(found.info, fields) if fields else _gauges(found, shape):
        yield f"      - name: {_scalar(metric.name)}"
        yield f"        field: {_scalar(metric.field)}   # {types[metric.field]}{why.get(metric.field, '')}"
        yield f"        kind: {metric.kind.word}"
        yield f"        unit: {_scalar(_unit(metric.field))}"
        yield f"        description: {_scalar(metric.description)}"
    for field in fields:
        if field.kind is None:
            yield f"    # Left out: {field.part.name} ({c_type(field.part)}): by its name {field.why}"


def _gauges(found: FoundMap, shape: Shape) -> list[MetricSpec]:
    """Return a gauge of each number, where nothing in the value is taken for a count."""
    every = defaults.metrics_of(found.info, [defaults.Field(part, Kind.GAUGE) for part in shape.value])
    gauges = [metric for metric in every if _can_be(metric, found, shape)]
    if not gauges:
        raise SourceError(
            f"write a configuration for map {found.info.name} (id {found.info.id})",
            f"no field of its value is a number that can be sent: {_fields(shape)}",
            "`xdp-otel discover` shows the other maps",
        )
    return gauges


def _fields(shape: Shape) -> str:
    shown = [f"{part.name} {c_type(part)}" for part in shape.value[:_MOST_SHOWN]]
    return ", ".join([*shown, "…"] if len(shape.value) > _MOST_SHOWN else shown) or "it has none"


def _can_be(metric: MetricSpec, found: FoundMap, shape: Shape) -> bool:
    spec = SourceSpec(MapRef("id", str(found.info.id)), key=(), metrics=(metric,))
    try:
        resolve(spec, found.info, shape)
    except SidecarError:
        return False
    return True


def _key(one: KeySpec, part: Part, *, enums: bool) -> str:
    decoder = _decoder(part)
    table = ""
    if decoder == "enum" and not enums:
        # A layout has no enums.
        decoder = "table"
        table = (
            ", table: {"
            + ", ".join(f"{number}: {_scalar(name)}" for number, name in part.names.items())
            + "}"
        )
    return f"field: {_scalar(part.name)}, attribute: {_scalar(one.attribute)}, decoder: {decoder}{table}"


def _decoder(part: Part) -> str:
    """Return what the part's name suggests, or else its type."""
    suggested = decoders.default_for(part)
    if suggested not in ("hex", "integer", "integer_be") or part.refused:
        return suggested if part.refused == "" else "hex"
    for name, guesses in _GUESSES:
        if name.search(part.name.lower()):
            return next((guess for guess in guesses if _reads(guess, part)), suggested)
    return suggested


def _reads(decoder: str, part: Part) -> bool:
    # Numbers in network order and numbers in the machine's are not told apart by their size.
    if decoder in ("ipv4", "port") and not part.big_endian:
        return False
    try:
        decoders.bind(decoder, part)
    except ConfigError:
        return False
    return True


def _alternatives(part: Part) -> str:
    chosen = _decoder(part)
    obvious = _OBVIOUS if part.encoding is Encoding.STRING else _OBVIOUS | _OF_TEXT
    others = [name for name in decoders.DECODERS if name not in obvious | {chosen} and _reads(name, part)]
    return c_type(part) + (f"; or {', '.join(others)}" if others else "")


def _unit(field: str) -> str:
    return next((unit for name, unit in _UNITS if name.search(field.lower())), "1")
