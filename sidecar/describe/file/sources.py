# SPDX-License-Identifier: Apache-2.0
"""The configuration file, and profiles, which have the same form: YAML → specs (docs/configuration.md)."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from sidecar.describe.clashes import refuse_clashes
from sidecar.describe.file.layout import layout
from sidecar.describe.file.metrics import attributes, key, metrics, text
from sidecar.describe.file.yaml_nodes import Node, read
from sidecar.describe.spec import MatchSpec, Place, PlaceKind, ProfileSpec, SourceSpec
from sidecar.describe.suggest import nearest
from sidecar.errors import ConfigError
from sidecar.kernel import map_kinds
from sidecar.schema import LARGEST_CARDINALITY

BUILT_IN = Path(__file__).parents[1] / "profiles"
_PLACES: Mapping[str, PlaceKind] = {"interface": "interface", "pin": "pin", "name": "name", "id": "id"}
_PROFILE_KEYS = ("match", "layout", "cpu", "key", "metrics")
_SOURCE_KEYS = (*_PLACES, "netns", "profile", "attributes", "series_limit", *_PROFILE_KEYS[1:])
_U32 = (1 << 32) - 1


def load(path: Path) -> tuple[SourceSpec, ...]:
    """
    Return the sources of a configuration file.

    Raises:
        ConfigError: The file cannot be read, or something in it cannot be meant; the message begins with
            `file:line`.

    """
    top = read(path).mapping("the configuration", ("sources",))
    if "sources" not in top:
        raise ConfigError(
            "cannot read it", "no sources", "see docs/configuration.md for an example", at=f"{path}:1"
        )
    items = top["sources"].sequence("sources")
    if not items:
        raise top["sources"].refuse("sources", "none", "name one: `- pin: /sys/fs/bpf/stats_map`")
    found: dict[Place, SourceSpec] = {}
    profiles: dict[str, ProfileSpec] = {}
    for item in items:
        source = _source(item, path.parent, profiles)
        if source.place in found:
            raise item.refuse(
                f"source {source.place}", f"also at {found[source.place].at}", "keep one of the two"
            )
        found[source.place] = source
    return tuple(found.values())


def profile(name_or_path: str, near: Path = Path(), at: str = "") -> ProfileSpec:
    """
    Return a built-in profile by its name, or a profile file by its path.

    Args:
        name_or_path: A path if it has a slash or ends in `.yaml` or `.yml`.
        near: The directory that a path is relative to.
        at: `file:line` that names it; empty if a flag does.

    Raises:
        ConfigError: There is no such profile, or it cannot be read.

    """
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = near / name_or_path
        return _profile(read(path), path.stem, str(path))
    if name_or_path not in built_in_names():
        place = f"{at}: " if at else "use --"
        raise ConfigError(
            f"{place}profile {name_or_path!r}",
            "no built-in profile has that name",
            nearest(name_or_path, built_in_names()) + "; or write the path of a file",
        )
    return _built_in(name_or_path)


def built_in_names() -> tuple[str, ...]:
    """Return the names of the built-in profiles."""
    return tuple(sorted(file.stem for file in BUILT_IN.glob("*.yaml")))


def built_in() -> Iterator[ProfileSpec]:
    """Yield the built-in profiles; each is read once, and only when it is asked for."""
    yield from map(_built_in, built_in_names())


@cache
def _built_in(name: str) -> ProfileSpec:
    path = BUILT_IN / f"{name}.yaml"
    return _profile(read(path, path.name), name, path.name)


def _profile(node: Node, name: str, file: str) -> ProfileSpec:
    found = node.mapping("a profile", _PROFILE_KEYS)
    if not found:
        raise node.refuse("a profile", "empty", f"write some of {', '.join(_PROFILE_KEYS)}")
    return ProfileSpec(
        name=name,
        match=_match(found["match"]) if "match" in found else None,
        layout=layout(found["layout"]) if "layout" in found else None,
        cpu=text(found, "cpu"),
        key=key(found),
        metrics=metrics(found),
        at=file,
    )


def _match(node: Node) -> MatchSpec:
    found = node.mapping("match", ("types", "name", "name_if_btf_is_hidden", "max_entries"))
    types = found["types"].sequence("types") if "types" in found else []
    return MatchSpec(
        types=tuple(one.choice("type of map", map_kinds.READABLE) for one in types),
        name=text(found, "name") or "",
        name_if_btf_is_hidden=text(found, "name_if_btf_is_hidden") or "",
        max_entries=found["max_entries"].integer("max_entries", 1, _U32) if "max_entries" in found else 0,
    )


def _source(node: Node, near: Path, profiles: dict[str, ProfileSpec]) -> SourceSpec:
    """Return a source; *profiles* are those that other sources named: a file is read once for all of them."""
    found = node.mapping("a source", _SOURCE_KEYS)
    place = _place(node, found)
    chosen = found.get("profile")
    limit = found.get("series_limit")
    spec = SourceSpec(
        place=place,
        profile=_named_profile(chosen, near, profiles) if chosen else None,
        attributes=attributes(found),
        series_limit=limit.integer("series_limit", 1, _U32) if limit else LARGEST_CARDINALITY,
        cpu=text(found, "cpu"),
        layout=layout(found["layout"]) if "layout" in found else None,
        key=key(found),
        metrics=metrics(found),
        at=found[place.kind].at,
    )
    refuse_clashes(spec.with_profile(spec.profile))
    return spec


def _named_profile(node: Node, near: Path, profiles: dict[str, ProfileSpec]) -> ProfileSpec:
    name = node.text("profile")
    if name not in profiles:
        profiles[name] = profile(name, near, node.at)
    return profiles[name]


def _place(node: Node, found: Mapping[str, Node]) -> Place:
    kinds = [name for name in _PLACES if name in found]
    if len(kinds) != 1:
        remedy = f"write exactly one of {', '.join(_PLACES)}"
        raise node.refuse("a source", " and ".join(kinds) if kinds else "it says no place", remedy)
    kind = _PLACES[kinds[0]]
    if "netns" in found and kind != "interface":
        raise found["netns"].refuse("netns", f"it goes with interface, not with {kind}", "leave it out")
    if kind == "id":
        return Place(kind, str(found[kind].integer("id", 1, _U32)))
    value = _clean(found[kind], kind)
    if kind == "interface" and (len(value.encode()) > 15 or re.search(r"[/\s]", value)):
        raise found[kind].refuse(
            f"interface {value!r}", "no interface can have that name", "`ip link` shows them"
        )
    if kind == "pin" and not value.startswith("/"):
        raise found[kind].refuse(f"pin {value!r}", "not an absolute path", "write /sys/fs/bpf/…")
    return Place(kind, value, _clean(found["netns"], "netns") if "netns" in found else None)


def _clean(node: Node, what: str) -> str:
    value = node.text(what)
    if "\0" in value:
        raise node.refuse(f"{what} {value!r}", "it contains a NUL", "remove that")
    return value
