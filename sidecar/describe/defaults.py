# SPDX-License-Identifier: Apache-2.0
"""The key and the metrics of a map where the user leaves them open (pure)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sidecar.describe import guesses, prometheus_names
from sidecar.describe.meaning import Meaning, meaning_of
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import METRIC_NAME, KeySpec, MetricSpec, SourceSpec
from sidecar.errors import SourceError
from sidecar.kernel.syscall import MapInfo
from sidecar.kinds import Kind
from sidecar.schema import OVERFLOW, SOURCE_ATTRIBUTE

_INTEGERS = (Encoding.UNSIGNED, Encoding.SIGNED)
# OpenTelemetry allows 255 characters, and a number may follow.
_MAX_NAME = 250
_MAX_LISTED = 12


@dataclass(frozen=True)
class Field:
    """A field that could be a metric; *kind* is None if it is left out, *why* is what its name suggests."""

    part: Part
    kind: Kind | None
    why: str = ""


def with_defaults(spec: SourceSpec, info: MapInfo, shape: Shape) -> tuple[SourceSpec, tuple[str, ...]]:
    """
    Return the source with a key and metrics, and notes for the user on the fields that were left out.

    Raises:
        SourceError: No field of the value can be a metric.

    """
    key = key_of(info, shape) if spec.key is None else spec.key
    if spec.metrics is not None:
        return replace(spec, key=key), ()
    fields = fields_of(shape.value, summed=info.kind.is_per_cpu and not spec.cpu)
    if not fields:
        raise _no_count(info, shape.value)
    spec = replace(spec, key=key, metrics=tuple(metrics_of(info, fields)))
    left_out = [f"{field.part.name} ({field.why})" for field in fields if field.kind is None]
    left_out += [f"{part.name} ({part.type})" for part in shape.value if part.elements]
    if not left_out:
        return spec, ()
    more = [f"{len(left_out) - _MAX_LISTED:,} more"] if len(left_out) > _MAX_LISTED else []
    listed = ", ".join(left_out[:_MAX_LISTED] + more)
    return spec, (f"left out, as they are not counts: {listed}; list them under `metrics:` to export them",)


def key_of(info: MapInfo, shape: Shape) -> tuple[KeySpec, ...]:
    """Return the parts of the key that are attributes, decoded as `guesses` says; none for a single key."""
    if info.kind.is_array and info.max_entries == 1:
        return ()
    parts = guesses.key_parts(shape.key)
    names = prometheus_names.make_distinct(
        (prometheus_names.usable(part.name) for part in parts),
        prometheus_names.label,
        (SOURCE_ATTRIBUTE, OVERFLOW[0]),
    )
    return tuple(
        KeySpec(part.name, name, guesses.decoder_of(part)) for part, name in zip(parts, names, strict=True)
    )


def fields_of(parts: Iterable[Part], *, summed: bool) -> list[Field]:
    """
    Return the integers of a value, each with the kind of metric that it yields.

    If no name suggests a count or a level, all fields are counts: a metric too many does less harm than none.

    Args:
        parts: The parts of the value.
        summed: Whether the value is summed over CPUs.

    """
    integers = [part for part in parts if part.encoding in _INTEGERS and part.bits <= 64 and not part.refused]
    fields = [_field(part, summed=summed) for part in integers]
    if any(one.kind for one in fields):
        return fields
    return [Field(part, _counted(part)) for part in integers]


def _field(part: Part, *, summed: bool) -> Field:
    meaning = meaning_of(part)
    if meaning is Meaning.COUNT:
        return Field(part, _counted(part))
    if meaning is Meaning.LEVEL or (meaning is Meaning.NON_ADDITIVE and not summed):
        return Field(part, Kind.GAUGE, meaning.value)
    return Field(part, None, meaning.value)


def _counted(part: Part) -> Kind:
    return Kind.COUNTER if part.encoding is Encoding.UNSIGNED else Kind.UPDOWNCOUNTER


def _no_count(info: MapInfo, parts: Sequence[Part]) -> SourceError:
    first = f"{parts[0].name}: {parts[0].refused or parts[0].encoding.value}" if parts else "it has none"
    return SourceError(
        f"read map {title(info)} (id {info.id})",
        f"no field of its value is known to be a count ({first})",
        "list its fields under `metrics:` in a configuration file, `field: slots.*` for an array, "
        "with `kind: gauge` if they are not counts",
    )


def metrics_of(info: MapInfo, fields: Iterable[Field]) -> Iterator[MetricSpec]:
    """Yield a metric for each field that is not left out, under names that Prometheus can tell apart."""
    exported = [field for field in fields if field.kind]
    wanted = (_metric_name(info, field.part) for field in exported)
    names = prometheus_names.make_distinct(wanted, prometheus_names.metric)
    for name, one in zip(names, exported, strict=True):
        yield MetricSpec(
            name=name,
            field=one.part.name,
            unit=guesses.unit_of(one.part.name),
            description=f"Field {one.part.name} of map {title(info)}.",
            kind=one.kind or Kind.COUNTER,
        )


def _metric_name(info: MapInfo, part: Part) -> str:
    """Return `<map>.<field>`, restricted to the characters that a metric's name may have."""
    name = re.sub(r"[^A-Za-z0-9_./-]", "_", f"{title(info)}.{part.name}")[:_MAX_NAME]
    return name if METRIC_NAME.fullmatch(name) else f"map_{name}"[:_MAX_NAME]


def title(info: MapInfo) -> str:
    """Return a map's name, or `map_<id>` if it has none."""
    return info.name or f"map_{info.id}"
