# SPDX-License-Identifier: Apache-2.0
"""From what the user asks for and the shape of a map to the Schema: which metrics the map yields (pure)."""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from sidecar.describe.clashes import clashes
from sidecar.describe.decoders import NameOf
from sidecar.describe.defaults import title, with_defaults
from sidecar.describe.entry_error import entry_error
from sidecar.describe.file import sources
from sidecar.describe.instruments import Built, build_instruments
from sidecar.describe.labels import build_label, build_value_label, keeps_keys_distinct
from sidecar.describe.layout import shape_from
from sidecar.describe.matching import matching_profile
from sidecar.describe.prefixes import opaque_prefix, with_prefix
from sidecar.describe.selection import MapKeys
from sidecar.describe.shape import ARRAY_INDEX, Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec, MapRef, ProfileSpec, SourceSpec
from sidecar.describe.stale import refuse_stale
from sidecar.describe.views import build_views
from sidecar.errors import Collector, RightsError, SourceError
from sidecar.kernel import map_kinds, pins
from sidecar.kernel.capabilities import Capability
from sidecar.kernel.capabilities import remedy as capability_remedy
from sidecar.kernel.syscall import MapInfo
from sidecar.model import Layout
from sidecar.schema import Schema


def resolve(
    spec: SourceSpec,
    info: MapInfo,
    shape: Shape | None,
    *,
    unusable: str = "",
    profiles: Iterable[ProfileSpec] | None = None,
    name_of: NameOf = socket.if_indextoname,
) -> Schema:
    """
    Return which metrics a map yields.

    Args:
        spec: The source.
        info: The kernel's description of its map.
        shape: The map's shape by its BTF, or by that of a program; None if there is none that can be read.
        unusable: Why its BTF could be read but not used; empty if neither happened.
        profiles: Profiles to choose from if the user describes nothing; by default the built-in ones.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        SourceError: The type of the map is not supported; the map has neither BTF nor a layout; or its BTF
            contradicts the layout.
        RightsError: The map has no layout, and its BTF cannot be read without a capability.
        ConfigError: A field, decoder or kind does not fit the map; the message has the `file:line` of it.

    """
    _refuse_unsupported(info)
    what = f"map {title(info)}"
    if not info.btf_value_type_id and (spec.layout or (spec.profile and spec.profile.layout)):
        shape = None  # what a program declares of a map without BTF is for where nothing else describes it
    described = shape
    if spec.layout:
        described = _shape_of_layout(spec.layout, info)
        if shape:
            refuse_stale(spec.layout, described, shape, what)
    profile = spec.profile
    if not (profile or spec.metrics or spec.key is not None):
        known = sources.built_in() if profiles is None else profiles
        profile = matching_profile(known, info, described)
    is_guess = described is None and not spec.profile and not _is_shipped_program(spec.map_ref)
    source = spec.with_profile(profile)
    if described is None:
        described = (
            _shape_of_layout(source.layout, info) if source.layout else _refuse_undescribed(info, unusable)
        )
    if not described.key or (described is shape and info.kind.is_array):
        described = replace(described, key=(_index_like(described.key, opaque_key(info)),))
    source, notes = with_defaults(source, info, described)
    errors = Collector()
    errors.add(clashes(source))
    errors.take(lambda: _refuse_cpu(source, info), None)
    errors.take(lambda: _refuse_rows(spec, info), None)
    errors.take(lambda: _refuse_outer(spec, info), None)
    summed = info.kind.is_per_cpu and not source.cpu
    entries = info.max_entries if info.kind.is_array else 0
    built = errors.take(
        lambda: build_instruments(
            source.metrics or (), described.value, what, summed=summed, entries=entries, name_of=name_of
        ),
        Built((), (), {}),
    )
    label = errors.take(
        lambda: build_label(source.key or (), described.key, f"the key of {what}", name_of), None
    )
    of_value = errors.take(
        lambda: build_value_label(
            source.labels or (), described.value, info.value_size, f"the value of {what}", name_of
        ),
        None,
    )
    keys = MapKeys(described.key, entries, what, name_of)
    views = errors.take(lambda: build_views(source, built.views, keys), ())
    errors.raise_all()
    assert label is not None  # noqa: S101  # or there was an error
    return Schema(
        name=profile.name if profile else info.name,
        layout=Layout(info.value_size, built.fields),
        instruments=built.instruments,
        label=label,
        attributes=source.attributes,
        cpu=source.cpu,
        series_limit=source.series_limit,
        labels=tuple(part.attribute for part in (*(source.key or ()), *(source.labels or ()))),
        value_label=of_value if source.labels else None,
        only_used=info.kind.is_array and info.max_entries > 1 and source.rows != "all",
        distinct_keys=not views and keeps_keys_distinct(source.key or (), described.key),
        views=views,
        notes=notes,
        warnings=(
            *([f"cannot use the BTF of {what}: {unusable}"] if unusable else []),
            *([_guess_warning(profile, info)] if is_guess and profile else []),
        ),
    )


def _refuse_unsupported(info: MapInfo) -> None:
    if not info.kind.is_readable:
        raise SourceError(
            f"read map {title(info)} (id {info.id})",
            f"{info.kind.name} maps are not supported",
            info.kind.instead or f"name one of type {', '.join(map_kinds.READABLE)}",
        )


def _is_shipped_program(map_ref: MapRef) -> bool:
    """Return whether the map is the shipped program's: only its pins are under `PIN_ROOT`."""
    return map_ref.kind == "interface" or pins.PIN_ROOT in Path(map_ref.value).parents


def _guess_warning(profile: ProfileSpec, info: MapInfo) -> str:
    btf, by = "it has no BTF", f"its {info.value_size}-byte values"
    if info.btf_value_type_id:
        btf, by = "its BTF cannot be read", f"its name and {by}"
    return (
        f"map {title(info)} is read as {profile.name} by {by} alone, since {btf}: this may be wrong: "
        f"write `profile: {profile.name}` if it is right, or describe the map under `layout:`"
    )


def _refuse_undescribed(info: MapInfo, unusable: str) -> NoReturn:
    what = f"read map {title(info)} (id {info.id})"
    unknown = f"so the fields of its {info.value_size}-byte values are unknown"
    remedy = "name a profile, or describe the map under `layout:` in a configuration file"
    if unusable:
        raise SourceError(what, f"its BTF cannot be used ({unusable}), {unknown}", remedy)
    if info.btf_value_type_id:
        rights = capability_remedy(Capability.SYS_ADMIN)
        raise RightsError(what, f"its BTF cannot be read, {unknown}", f"{rights}; or {remedy}")
    raise SourceError(what, f"it has no BTF, {unknown}", f"{_how_to_emit_btf(info)}; or {remedy}")


def _how_to_emit_btf(info: MapInfo) -> str:
    """Return what to change in a program whose map has no BTF: -g alone may not be enough for libbpf."""
    key = "`__type(key, __u32)`, as the kernel requires," if info.kind.is_array else "`__type(key, …)`"
    return f"declare the map with {key} and `__type(value, …)`, and build with -g"


def _shape_of_layout(layout: LayoutSpec, info: MapInfo) -> Shape:
    return with_prefix(shape_from(layout, opaque_key(info), info.key_size, info.value_size), info)


def _index_like(key: Sequence[Part], index: Part) -> Part:
    """Return *index*, the number of an array's row whatever its type, with the names that BTF has for it."""
    if len(key) != 1 or key[0].bits != index.bits:
        return index
    aliases = (key[0].name,) if key[0].name != index.name else ()
    return replace(index, names=key[0].names, aliases=aliases)


def opaque_key(info: MapInfo) -> Part:
    """Return the key of a map whose key nothing describes."""
    if info.kind.is_array:
        return ARRAY_INDEX
    if info.kind.is_trie:
        return opaque_prefix(info.key_size)
    return Part("key", 0, 8 * info.key_size, Encoding.BYTES, f"{info.key_size} bytes")


def _refuse_cpu(source: SourceSpec, info: MapInfo) -> None:
    if source.cpu and not info.kind.is_per_cpu:
        raise entry_error(
            source.at,
            "cpu",
            f"map {title(info)} is {info.kind.name}, not per CPU",
            "leave it out",
        )


def _refuse_rows(spec: SourceSpec, info: MapInfo) -> None:
    if spec.rows and not info.kind.is_array:
        cause = f"map {title(info)} is {info.kind.name}, whose keys are all used"
        raise entry_error(spec.at, "rows", cause, "leave it out")


def _refuse_outer(spec: SourceSpec, info: MapInfo) -> None:
    if spec.outer:
        cause = f"map {title(info)} is {info.kind.name}, not a map of maps"
        raise entry_error(spec.outer.at, "outer", cause, "leave it out")
