# SPDX-License-Identifier: Apache-2.0
"""Configuration files and profiles, which share their sections: YAML → specs (docs/configuration.md)."""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path

from sidecar.describe.clashes import clashes
from sidecar.describe.directions import CHOICES, DEFAULT, in_directions
from sidecar.describe.entry_error import entry_error
from sidecar.describe.file.buckets import where
from sidecar.describe.file.layout import layout, outer_key
from sidecar.describe.file.metrics import attributes, key, labels, metrics
from sidecar.describe.file.section import Section
from sidecar.describe.file.yaml_nodes import Node, read
from sidecar.describe.globs import refuse_placeholders
from sidecar.describe.packet_sizes import with_packet_sizes
from sidecar.describe.spec import MapRef, MapRefKind, MatchSpec, OuterSpec, ProfileSpec, RowsShown, SourceSpec
from sidecar.errors import each, placed
from sidecar.kernel import map_kinds
from sidecar.kernel.interface import is_interface_name_or_pattern, is_pattern
from sidecar.schema import LARGEST_CARDINALITY
from sidecar.suggest import suggest

BUILT_IN = Path(__file__).parents[1] / "profiles"
_MAP_REFS: Mapping[str, MapRefKind] = {"interface": "interface", "pin": "pin", "name": "name", "id": "id"}
_PROFILE_KEYS = ("match", "layout", "cpu", "rows", "key", "labels", "metrics")
_ROWS: Mapping[str, RowsShown] = {"used": "used", "all": "all"}
# Of the sources that name an interface only.
_OF_INTERFACES = ("netns", "direction", "packet_sizes", "map", "exclude")
_SOURCE_KEYS = (
    *(*_MAP_REFS, *_OF_INTERFACES, "profile", "attributes", "series_limit", "where", "outer"),
    *_PROFILE_KEYS[1:],
)
_U32 = (1 << 32) - 1
# Never leaves this module: an error was found.
_NO_MAP = MapRef("name", "")


def load(path: Path, by: str = "") -> tuple[SourceSpec, ...]:
    """
    Return the sources of a configuration file; *by* is the flag or variable that names it, for messages.

    Raises:
        ConfigError: The file cannot be read, or an entry is refused; the message then begins with its
            `file:line`.

    """
    top = read(path, by=by)
    section = Section(top, "the configuration", ("sources",))
    section.require("sources", "see docs/configuration.md for an example")
    specs = section.take("sources", partial(_sources, near=path.parent), ())
    section.errors.raise_all()
    return specs


def _sources(node: Node, near: Path) -> tuple[SourceSpec, ...]:
    items = node.sequence("sources")
    if not items:
        raise node.refuse("sources", "empty", "name one: `- pin: /sys/fs/bpf/stats_map`")
    specs: dict[MapRef, SourceSpec] = {}
    profiles: dict[str, ProfileSpec | None] = {}

    def add(item: Node) -> None:
        for source in _source(item, near, profiles):
            if source.map_ref in specs:
                cause = f"also at {specs[source.map_ref].at}"
                raise item.refuse(f"source {source.map_ref}", cause, "keep one of the two")
            specs[source.map_ref] = source

    each(add, items)
    return tuple(specs.values())


def profile(name_or_path: str, near: Path = Path(), at: str = "") -> ProfileSpec:
    """
    Return a built-in profile by its name, or a profile file by its path.

    Args:
        name_or_path: A path if it has a slash or ends in `.yaml` or `.yml`.
        near: The directory that a path is relative to.
        at: `file:line` of the entry that names it; empty if a flag does.

    Raises:
        ConfigError: There is no such profile, or it cannot be read.

    """
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = near / name_or_path
        return _profile(read(path, by="" if at else "--profile"), path.stem, str(path))
    if name_or_path not in built_in_names():
        remedy = f"{suggest(name_or_path, built_in_names())}; or write the path of a file"
        entry = f"{'' if at else '--'}profile {name_or_path!r}"
        raise entry_error(at, entry, "no built-in profile has that name", remedy)
    return _built_in(name_or_path)


def built_in_names() -> tuple[str, ...]:
    """Return the names of the built-in profiles."""
    return tuple(sorted(file.stem for file in BUILT_IN.glob("*.yaml")))


def built_in() -> Iterator[ProfileSpec]:
    """Yield the built-in profiles; each file is read once, on first use."""
    yield from map(_built_in, built_in_names())


@cache
def _built_in(name: str) -> ProfileSpec:
    path = BUILT_IN / f"{name}.yaml"
    return _profile(read(path, path.name), name, path.name)


def _profile(node: Node, name: str, file: str) -> ProfileSpec:
    section = Section(node, "profile", _PROFILE_KEYS)
    if not section.values and section.is_spelt_right:
        raise node.refuse("profile", "empty", f"write some of {', '.join(_PROFILE_KEYS)}")
    spec = ProfileSpec(
        name=name,
        match=section.take("match", _match, None),
        layout=section.take("layout", layout, None),
        cpu=section.text("cpu"),
        rows=section.take("rows", _rows, None),
        key=section.take("key", key, None),
        labels=section.take("labels", labels, None),
        metrics=section.take("metrics", metrics, None),
        at=file,
    )
    section.errors.raise_all()
    return spec


def _match(node: Node) -> MatchSpec:
    section = Section(node, "match", ("types", "name", "name_if_btf_is_hidden", "max_entries"))
    spec = MatchSpec(
        types=section.take("types", _types, ()),
        name=section.text("name") or "",
        name_if_btf_is_hidden=section.text("name_if_btf_is_hidden") or "",
        max_entries=section.take("max_entries", lambda number: number.integer("max_entries", 1, _U32), 0),
    )
    section.errors.raise_all()
    return spec


def _rows(node: Node) -> RowsShown:
    return _ROWS[node.choice("rows", list(_ROWS))]


def _types(node: Node) -> tuple[str, ...]:
    return tuple(each(lambda item: item.choice("map type", map_kinds.READABLE), node.sequence("types")))


def _source(node: Node, near: Path, profiles: dict[str, ProfileSpec | None]) -> tuple[SourceSpec, ...]:
    """
    Return a source; an interface is one for each direction, and one for the packet sizes of each.

    *profiles* caches the profiles by name: a file that many sources name is read once.
    """
    section = Section(node, "source", _SOURCE_KEYS)
    map_ref = section.errors.take(lambda: _map_ref(section), _NO_MAP)
    spec = SourceSpec(
        map_ref=map_ref,
        profile=section.take("profile", partial(_named_profile, near=near, profiles=profiles), None),
        attributes=section.take("attributes", attributes, ()),
        series_limit=section.take("series_limit", _series_limit, LARGEST_CARDINALITY),
        cpu=section.text("cpu"),
        rows=section.take("rows", _rows, None),
        layout=section.take("layout", layout, None),
        key=section.take("key", key, None),
        labels=section.take("labels", labels, None),
        metrics=section.take("metrics", metrics, None),
        where=section.take("where", where, ()),
        outer=section.take("outer", _outer, None),
        exclude=section.take("exclude", partial(_exclude, map_ref=map_ref), ()),
        at=section.values.get("interface" if map_ref.kind == "attached" else map_ref.kind, node).at,
    )
    direction = section.take("direction", lambda text: text.choice("direction", CHOICES), DEFAULT)
    specs = in_directions(spec, direction)
    if map_ref.is_pattern and map_ref.kind != "interface":
        at = section.values["attributes"].at if "attributes" in section.values else ""
        section.errors.take(lambda: refuse_placeholders(spec.attributes, map_ref.value, at), None)
    if section.take("packet_sizes", lambda wanted: wanted.boolean("packet_sizes"), False):
        specs = tuple(with_packet_sizes(specs))
    if not section.errors:
        section.errors.add(clashes(specs[0].with_profile(spec.profile)))
    section.errors.raise_all()
    return specs


def _exclude(node: Node, map_ref: MapRef) -> tuple[str, ...]:
    if map_ref is not _NO_MAP and not map_ref.is_pattern:
        cause = f"{map_ref.value} is one interface: only a pattern leaves some out"
        raise node.refuse("exclude", cause, "write interface: 'eth*' or interface: auto, or leave it out")
    return tuple(each(_exclusion, node.sequence("exclude")))


def _exclusion(node: Node) -> str:
    text = node.text("exclude")
    if not is_interface_name_or_pattern(text):
        raise node.refuse(f"exclude {text!r}", "no interface can match it", "write 'veth*'")
    return text


def _outer(node: Node) -> OuterSpec:
    section = Section(node, "outer", ("layout", "key"))
    spec = OuterSpec(
        layout=section.take("layout", outer_key, None), key=section.take("key", key, None), at=node.at
    )
    section.errors.raise_all()
    return spec


def _series_limit(node: Node) -> int:
    return node.integer("series_limit", 1, _U32)


def _named_profile(node: Node, near: Path, profiles: dict[str, ProfileSpec | None]) -> ProfileSpec | None:
    """Return the profile; None if it was refused before: its errors are shown once."""
    name = node.text("profile")
    if name not in profiles:
        profiles[name] = None
        with placed(node.at):
            profiles[name] = profile(name, near, node.at)
    return profiles[name]


def _map_ref(of: Section) -> MapRef:
    node, section = of.node, of.values
    kinds = [name for name in _MAP_REFS if name in section]
    if kinds == ["interface", "name"] and "map" not in section:
        # As people write it who know the keys for one map: it can mean nothing else.
        section["map"] = section.pop("name")
        kinds.remove("name")
    if not kinds and not of.is_spelt_right:
        return _NO_MAP
    if len(kinds) != 1:
        remedy = f"write exactly one of {', '.join(_MAP_REFS)}"
        raise node.refuse("source", " and ".join(kinds) if kinds else "it names no map", remedy)
    kind = _MAP_REFS[kinds[0]]
    for name in _OF_INTERFACES:
        if name in section and kind != "interface":
            raise section[name].refuse(name, f"it goes with interface, not with {kind}", "leave it out")
    if kind == "id":
        return MapRef(kind, str(section[kind].integer("id", 1, _U32)))
    value = _without_nul(section[kind], kind)
    if kind == "interface" and not is_interface_name_or_pattern(value):
        raise section[kind].refuse(
            f"interface {value!r}", "no interface can have that name", "`ip link` lists the interfaces"
        )
    if kind == "pin" and not value.startswith("/"):
        raise section[kind].refuse(f"pin {value!r}", "not an absolute path", "write /sys/fs/bpf/…")
    netns = _without_nul(section["netns"], "netns") if "netns" in section else None
    return _attached(value, netns, section) if "map" in section else MapRef(kind, value, netns)


def _attached(interface: str, netns: str | None, section: Mapping[str, Node]) -> MapRef:
    if is_pattern(interface):
        cause = "with `map` it is one interface"
        raise section["interface"].refuse(f"interface {interface!r}", cause, "name the interface")
    for name in ("direction", "packet_sizes"):
        if name in section:
            cause = "with `map` nothing is attached"
            raise section[name].refuse(name, cause, "leave out one of the two")
    return MapRef("attached", interface, netns, map=_without_nul(section["map"], "map"))


def _without_nul(node: Node, what: str) -> str:
    value = node.text(what)
    if "\0" in value:
        raise node.refuse(f"{what} {value!r}", "it contains a NUL", "remove the NUL")
    return value
