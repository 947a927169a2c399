# SPDX-License-Identifier: Apache-2.0
"""From what the user says and how a map looks to what is made of it: a Schema (pure)."""

import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sidecar import bpf_uapi as uapi
from sidecar import prometheus_names
from sidecar.bpf_syscall import MapInfo
from sidecar.capabilities import Capability, remedy
from sidecar.describe import config_file
from sidecar.describe.clashes import refuse_clashes
from sidecar.describe.decoders import NameOf
from sidecar.describe.fields import made_of
from sidecar.describe.key_label import label_of, unasked
from sidecar.describe.layout import shape_from
from sidecar.describe.matching import fitting
from sidecar.describe.metrics_file import METRIC_NAME
from sidecar.describe.nearest import at_line
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec, MetricSpec, ProfileSpec, SourceSpec
from sidecar.errors import ConfigError, RightsError, SourceError
from sidecar.model import Layout
from sidecar.prometheus_names import told_apart
from sidecar.schema import Kind, Schema

_OF_MAPS = ("ARRAY_OF_MAPS", "HASH_OF_MAPS")
# OpenTelemetry has 255, and a number may come behind.
_LONGEST_NAME = 250
_INTEGERS = (Encoding.UNSIGNED, Encoding.SIGNED)


def resolve(
    spec: SourceSpec,
    info: MapInfo,
    shape: Shape | None,
    *,
    profiles: Iterable[ProfileSpec] | None = None,
    name_of: NameOf = socket.if_indextoname,
) -> Schema:
    """
    Return what is made of a map.

    Args:
        spec: What the user says of the source.
        info: What the kernel says of its map.
        shape: What BTF says of it; None if it has none.
        profiles: Those to choose from if the user says nothing; by default the built-in ones.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        SourceError: The map is of a kind that cannot be read, or has no BTF and nobody says how it looks.
        ConfigError: A field, decoder or kind does not fit; the message begins with the `file:line` of it.

    """
    _refuse_unreadable(info)
    described = _shape_of_layout(spec.layout, info) if spec.layout else shape
    profile = spec.profile
    if not (profile or spec.metrics or spec.key is not None):
        known = config_file.built_in() if profiles is None else profiles
        profile = fitting(known, info, described)
    plan = spec.with_profile(profile)
    if described is None:
        described = _shape_of_layout(plan.layout, info) if plan.layout else _unknown(info)
    described = replace(described, key=described.key or (_opaque_key(info),))
    plan = _completed(plan, info, described)
    refuse_clashes(plan)
    _refuse_cpu(plan, info)
    what = f"map {_title(info)}"
    fields, instruments = made_of(
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
    )


def _refuse_unreadable(info: MapInfo) -> None:
    if info.type in uapi.READABLE_TYPES:
        return
    kind = uapi.MAP_TYPE_NAMES.get(info.type, f"map type {info.type}")
    inner = "name the maps within it, each by its pin or id" if kind in _OF_MAPS else ""
    readable = ", ".join(uapi.MAP_TYPE_NAMES[one] for one in sorted(uapi.READABLE_TYPES))
    raise SourceError(
        f"read map {_title(info)} (id {info.id})",
        f"it is {kind}, which xdp-otel does not read",
        inner or f"name one that is {readable}",
    )


def _unknown(info: MapInfo) -> Shape:
    what = f"read map {_title(info)} (id {info.id})"
    unknown = f"so nobody knows what the {info.value_size} bytes of a value mean"
    described = "name a profile, or describe it under `layout:` in a configuration file"
    if info.btf_value_type_id:
        rights = remedy(Capability.SYS_ADMIN)
        raise RightsError(what, f"its BTF cannot be read, {unknown}", f"{rights}; or {described}")
    raise SourceError(what, f"it has no BTF, {unknown}", f"build its program with -g, {described}")


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
            f"map {_title(info)} is {uapi.MAP_TYPE_NAMES[info.type]}, not per CPU",
            "leave it out",
        )


def _completed(plan: SourceSpec, info: MapInfo, shape: Shape) -> SourceSpec:
    """Return *plan* with the key and the metrics that a map gets about which nothing is said."""
    key, metrics = plan.key, plan.metrics
    if key is None:
        alone = info.type in uapi.ARRAY_TYPES and info.max_entries == 1
        key = () if alone else unasked(shape.key)
    if metrics is None:
        found = list(_generic(info, shape.value))
        names = told_apart((one.name for one in found), prometheus_names.metric)
        metrics = tuple(replace(one, name=name) for one, name in zip(found, names, strict=True))
    return replace(plan, key=key, metrics=metrics)


def _generic(info: MapInfo, parts: Sequence[Part]) -> Iterator[MetricSpec]:
    """Yield a sum for each integer field."""
    found = False
    for part in parts:
        if part.encoding in _INTEGERS and part.bits <= 64 and not part.refused:
            found = True
            yield MetricSpec(
                name=_metric_name(info, part),
                field=part.name,
                description=f"Field {part.name} of map {_title(info)}.",
                kind=Kind.COUNTER if part.encoding is Encoding.UNSIGNED else Kind.UPDOWNCOUNTER,
            )
    if not found:
        first = f"{parts[0].name}: {parts[0].refused or parts[0].encoding.value}" if parts else "it has none"
        raise SourceError(
            f"read map {_title(info)} (id {info.id})",
            f"nobody knows which field of its value is a count ({first})",
            "name fields under `metrics:` in a configuration file, with `kind: gauge` if they are none",
        )


def _metric_name(info: MapInfo, part: Part) -> str:
    """Return `<map>.<field>`, in the characters that a metric's name may have."""
    name = re.sub(r"[^A-Za-z0-9_./-]", "_", f"{_title(info)}.{part.name}")[:_LONGEST_NAME]
    return name if METRIC_NAME.fullmatch(name) else f"map_{name}"[:_LONGEST_NAME]


def _title(info: MapInfo) -> str:
    return info.name or f"map_{info.id}"
