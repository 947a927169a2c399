# SPDX-License-Identifier: Apache-2.0
"""From what the user says and how a map looks to what is made of it: a Schema (pure)."""

import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sidecar.describe.clashes import refuse_clashes
from sidecar.describe.decoders import NameOf
from sidecar.describe.defaults import completed, title
from sidecar.describe.file import sources
from sidecar.describe.instruments import build_instruments
from sidecar.describe.labels import label_of, tells_apart
from sidecar.describe.layout import shape_from
from sidecar.describe.matching import fitting
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec, Place, ProfileSpec, SourceSpec
from sidecar.describe.stale import refuse_stale
from sidecar.describe.suggest import at_line
from sidecar.errors import ConfigError, RightsError, SourceError
from sidecar.kernel import pins, uapi
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.syscall import MapInfo
from sidecar.model import Layout
from sidecar.schema import Schema

_OF_MAPS = ("ARRAY_OF_MAPS", "HASH_OF_MAPS")


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
    Return what is made of a map.

    Args:
        spec: What the user says of the source.
        info: What the kernel says of its map.
        shape: What BTF says of it; None if it has none, or none that may be read.
        unusable: Why its BTF may be read, but is of no use; empty if that is not so.
        profiles: Those to choose from if the user says nothing; by default the built-in ones.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        SourceError: The map is of a kind that cannot be read, or has no BTF and nobody says how it looks, or
            its BTF says that a layout is another map's.
        ConfigError: A field, decoder or kind does not fit; the message begins with the `file:line` of it.

    """
    _refuse_unreadable(info)
    what = f"map {title(info)}"
    described = shape
    if spec.layout:
        described = _shape_of_layout(spec.layout, info)
        if shape:
            refuse_stale(spec.layout, described, shape, what)
    profile = spec.profile
    if not (profile or spec.metrics or spec.key is not None):
        known = sources.built_in() if profiles is None else profiles
        profile = fitting(known, info, described)
    is_guess = described is None and not spec.profile and not _is_ours(spec.place)
    plan = spec.with_profile(profile)
    if described is None:
        described = _shape_of_layout(plan.layout, info) if plan.layout else _unknown(info, unusable)
    if not described.key or (described is shape and info.type in uapi.ARRAY_TYPES):
        # The index of an array is a number, whatever its type is called.
        described = replace(described, key=(_opaque_key(info),))
    plan, notes = completed(plan, info, described)
    refuse_clashes(plan)
    _refuse_cpu(plan, info)
    fields, instruments = build_instruments(
        plan.metrics or (), described.value, what, summed=info.type in uapi.PER_CPU_TYPES and not plan.cpu
    )
    return Schema(
        name=profile.name if profile else info.name,
        layout=Layout(info.value_size, fields),
        instruments=instruments,
        label=label_of(plan.key or (), described.key, what, name_of),
        attributes=plan.attributes,
        cpu=plan.cpu,
        series_limit=plan.series_limit,
        labels=tuple(one.attribute for one in plan.key or ()),
        series_per_key=tells_apart(plan.key or (), described.key),
        notes=notes,
        warnings=(
            *([f"{what}: its BTF cannot be used: {unusable}"] if unusable else []),
            *([_guessed(profile, info)] if is_guess and profile else []),
        ),
    )


def _refuse_unreadable(info: MapInfo) -> None:
    if info.type in uapi.READABLE_TYPES:
        return
    kind = uapi.MAP_TYPE_NAMES.get(info.type, f"map type {info.type}")
    inner = "name the maps within it, each by its pin or id" if kind in _OF_MAPS else ""
    readable = ", ".join(uapi.MAP_TYPE_NAMES[one] for one in sorted(uapi.READABLE_TYPES))
    raise SourceError(
        f"read map {title(info)} (id {info.id})",
        f"it is {kind}, which xdp-otel does not read",
        inner or f"name one that is {readable}",
    )


def _is_ours(place: Place) -> bool:
    """Return whether the map is the shipped program's: its pin is under the directory that only we use."""
    return place.kind == "interface" or pins.PIN_ROOT in Path(place.value).parents


def _guessed(profile: ProfileSpec, info: MapInfo) -> str:
    btf, by = "it has no BTF", f"its {info.value_size} bytes"
    if info.btf_value_type_id:
        btf, by = "its BTF cannot be read", f"its name and {by}"
    return (
        f"map {title(info)} is read as {profile.name} by {by} alone, since {btf}: it may be something else: "
        f"say `profile: {profile.name}` if it is right, or describe it under `layout:`"
    )


def _unknown(info: MapInfo, unusable: str) -> Shape:
    what = f"read map {title(info)} (id {info.id})"
    unknown = f"so nobody knows what the {info.value_size} bytes of a value mean"
    described = "name a profile, or describe it under `layout:` in a configuration file"
    if unusable:
        raise SourceError(what, f"its BTF cannot be used ({unusable}), {unknown}", described)
    if info.btf_value_type_id:
        rights = remedy(Capability.SYS_ADMIN)
        raise RightsError(what, f"its BTF cannot be read, {unknown}", f"{rights}; or {described}")
    raise SourceError(what, f"it has no BTF, {unknown}", f"{how_to_have_btf(info)}; or {described}")


def how_to_have_btf(info: MapInfo) -> str:
    """Return what to change in a program whose map has no BTF: with -g alone, libbpf may have left it out."""
    key = (
        "`__type(key, __u32)`, as the kernel wants it,"
        if info.type in uapi.ARRAY_TYPES
        else "`__type(key, …)`"
    )
    return f"declare the map with {key} and `__type(value, …)`, and build with -g"


def _shape_of_layout(layout: LayoutSpec, info: MapInfo) -> Shape:
    return shape_from(layout, _opaque_key(info), info.key_size, info.value_size)


def _opaque_key(info: MapInfo) -> Part:
    """Return the key of a map of which nobody says how it looks."""
    if info.type in uapi.ARRAY_TYPES:
        return Part("key", 0, 32, Encoding.UNSIGNED, "__u32")
    return Part("key", 0, 8 * info.key_size, Encoding.BYTES, f"{info.key_size} bytes")


def _refuse_cpu(plan: SourceSpec, info: MapInfo) -> None:
    if plan.cpu and info.type not in uapi.PER_CPU_TYPES:
        raise ConfigError(
            at_line(plan.at, "cpu"),
            f"map {title(info)} is {uapi.MAP_TYPE_NAMES[info.type]}, not per CPU",
            "leave it out",
        )
