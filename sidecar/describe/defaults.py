# SPDX-License-Identifier: Apache-2.0
"""The key and the metrics that a map gets of which the user says nothing (pure)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sidecar.describe import prometheus_names
from sidecar.describe.file.metrics import METRIC_NAME
from sidecar.describe.labels import whole
from sidecar.describe.meaning import Meaning, meaning_of
from sidecar.describe.prometheus_names import told_apart
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import KeySpec, MetricSpec, SourceSpec
from sidecar.errors import SourceError
from sidecar.kernel import uapi
from sidecar.kernel.syscall import MapInfo
from sidecar.kinds import Kind
from sidecar.schema import OVERFLOW, SOURCE_ATTRIBUTE

_INTEGERS = (Encoding.UNSIGNED, Encoding.SIGNED)
# OpenTelemetry has 255, and a number may come behind.
_LONGEST_NAME = 250
_MOST_SAID = 12


@dataclass(frozen=True)
class Field:
    """A field that could be a metric; *kind* is None if it is left out, *why* says what it is taken for."""

    part: Part
    kind: Kind | None
    why: str = ""


def completed(plan: SourceSpec, info: MapInfo, shape: Shape) -> tuple[SourceSpec, tuple[str, ...]]:
    """
    Return *plan* with a key and metrics, and what the user should know of the choice.

    Raises:
        SourceError: No field of the value can be a metric.

    """
    key = key_of(info, shape) if plan.key is None else plan.key
    if plan.metrics is not None:
        return replace(plan, key=key), ()
    fields = fields_of(shape.value, summed=info.type in uapi.PER_CPU_TYPES and not plan.cpu)
    if not fields:
        raise _countless(info, shape.value)
    plan = replace(plan, key=key, metrics=tuple(metrics_of(info, fields)))
    left_out = [f"{one.part.name} ({one.why})" for one in fields if one.kind is None]
    left_out += [f"{part.name} ({part.type})" for part in shape.value if part.elements]
    more = [f"{len(left_out) - _MOST_SAID:,} more"] if len(left_out) > _MOST_SAID else []
    said = ", ".join(left_out[:_MOST_SAID] + more)
    return plan, (
        f"left out, as no counts: {said}; `metrics:` in a configuration names them",
    ) if said else ()


def key_of(info: MapInfo, shape: Shape) -> tuple[KeySpec, ...]:
    """Return all parts of the key, or none if there is one key only."""
    if info.type in uapi.ARRAY_TYPES and info.max_entries == 1:
        return ()
    parts = whole(shape.key)
    wanted = (prometheus_names.usable(part.name) for part in parts)
    names = told_apart(wanted, prometheus_names.label, (SOURCE_ATTRIBUTE, OVERFLOW[0]))
    return tuple(KeySpec(part.name, name) for part, name in zip(parts, names, strict=True))


def fields_of(parts: Iterable[Part], *, summed: bool) -> list[Field]:
    """
    Return the integers of a value, and what is made of each; *summed*: the CPUs are added up.

    If none of them is a count or a level by its name, each is taken for a count: a metric too many does
    less harm than none.
    """
    integers = [one for one in parts if one.encoding in _INTEGERS and one.bits <= 64 and not one.refused]
    fields = [_field(part, summed=summed) for part in integers]
    if any(one.kind for one in fields):
        return fields
    return [Field(part, _counted(part)) for part in integers]


def _field(part: Part, *, summed: bool) -> Field:
    meaning = meaning_of(part)
    if meaning is Meaning.COUNT:
        return Field(part, _counted(part))
    if meaning is Meaning.LEVEL or (meaning is Meaning.FIGURE and not summed):
        return Field(part, Kind.GAUGE, meaning.value)
    return Field(part, None, meaning.value)


def _counted(part: Part) -> Kind:
    return Kind.COUNTER if part.encoding is Encoding.UNSIGNED else Kind.UPDOWNCOUNTER


def _countless(info: MapInfo, parts: Sequence[Part]) -> SourceError:
    first = f"{parts[0].name}: {parts[0].refused or parts[0].encoding.value}" if parts else "it has none"
    return SourceError(
        f"read map {title(info)} (id {info.id})",
        f"nobody knows which field of its value is a count ({first})",
        "name fields under `metrics:` in a configuration file, with `kind: gauge` if they are none",
    )


def metrics_of(info: MapInfo, fields: Iterable[Field]) -> Iterator[MetricSpec]:
    """Yield the metrics of the fields that are not left out."""
    exported = [one for one in fields if one.kind]
    names = told_apart((_metric_name(info, one.part) for one in exported), prometheus_names.metric)
    for name, one in zip(names, exported, strict=True):
        yield MetricSpec(
            name=name,
            field=one.part.name,
            description=f"Field {one.part.name} of map {title(info)}.",
            kind=one.kind or Kind.COUNTER,
        )


def _metric_name(info: MapInfo, part: Part) -> str:
    """Return `<map>.<field>`, in the characters that a metric's name may have."""
    name = re.sub(r"[^A-Za-z0-9_./-]", "_", f"{title(info)}.{part.name}")[:_LONGEST_NAME]
    return name if METRIC_NAME.fullmatch(name) else f"map_{name}"[:_LONGEST_NAME]


def title(info: MapInfo) -> str:
    """Return a map's name, or one made of its id if it has none."""
    return info.name or f"map_{info.id}"
