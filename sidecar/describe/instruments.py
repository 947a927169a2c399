# SPDX-License-Identifier: Apache-2.0
"""From the metrics that are wanted to the fields that are read and the instruments made of them (pure)."""

from collections.abc import Mapping, Sequence

from sidecar.describe.shape import Encoding, Part, part_called
from sidecar.describe.spec import MetricSpec
from sidecar.describe.suggest import at_line, nearest
from sidecar.errors import ConfigError
from sidecar.kinds import KINDS, Kind
from sidecar.model import Field
from sidecar.schema import Instrument

_KINDS: Mapping[Encoding, tuple[Kind, ...]] = {
    Encoding.UNSIGNED: tuple(KINDS.values()),
    Encoding.SIGNED: tuple(kind for kind in KINDS.values() if not kind.is_monotonic),
    Encoding.BOOL: tuple(kind for kind in KINDS.values() if kind.needs_values),
    Encoding.ENUM: tuple(kind for kind in KINDS.values() if kind.needs_values),
}
"""What can be made of a field."""


def build_instruments(
    metrics: Sequence[MetricSpec], parts: Sequence[Part], what: str, *, summed: bool
) -> tuple[tuple[Field, ...], tuple[Instrument, ...]]:
    """
    Return the fields that are read, in the map's order, and what is made of them.

    Args:
        metrics: What is wanted.
        parts: What there is.
        what: The map, for messages.
        summed: Whether the value is added up over CPUs.

    Raises:
        ConfigError: A field is not there, or is not what its metric's kind wants.

    """
    used: dict[str, tuple[Part, set[Kind]]] = {}
    instruments = []
    for metric in metrics:
        part = find(parts, metric.field, metric.at, what)
        kinds = used.setdefault(part.name, (part, set()))[1]
        kinds.add(metric.kind)
        _refuse_kind(metric, part, kinds)
        if part.encoding in (Encoding.BOOL, Encoding.ENUM) and summed:
            raise ConfigError(
                at_line(metric.at, f"metric {metric.name!r}"),
                f"{part.name} is {part.encoding.value}, and means nothing when added up over CPUs",
                "write `cpu: cpu` in the source, for one series per CPU",
            )
        instruments.append(
            Instrument(
                metric.name, metric.unit, metric.description, part.name, metric.kind, metric.attributes
            )
        )
    ordered = sorted(used.values(), key=lambda one: one[0].bit_offset)
    return tuple(_field(part, kinds) for part, kinds in ordered), tuple(instruments)


def _field(part: Part, kinds: set[Kind]) -> Field:
    # An unsigned field that is counted down as well is right on one CPU only in two's complement.
    signed = part.encoding is Encoding.SIGNED or any(kind.signed for kind in kinds)
    signed = signed or any(number < 0 for number in part.names)
    return Field(part.name, part.bit_offset, part.bits, signed, part.big_endian)


def _refuse_kind(metric: MetricSpec, part: Part, kinds: set[Kind]) -> None:
    what = at_line(metric.at, f"metric {metric.name!r}")
    if part.bits > 64 or part.encoding not in _KINDS:
        raise ConfigError(
            what, f"field {part.name} is {part.type}, no number of up to 64 bits", "leave it out"
        )
    if metric.kind not in _KINDS[part.encoding]:
        cause = "may fall" if part.encoding is Encoding.SIGNED else "is no count"
        raise ConfigError(
            what,
            f"kind {metric.kind.word}, but field {part.name} is {part.encoding.value} and {cause}",
            f"write `kind: {_KINDS[part.encoding][0].word}`",
        )
    if {Kind.COUNTER, Kind.UPDOWNCOUNTER} <= kinds:
        raise ConfigError(
            what,
            f"field {part.name} is both a counter, which never falls, and an updowncounter",
            "write one of the two, or gauge",
        )


def find(parts: Sequence[Part], name: str, at: str, what: str) -> Part:
    """Return the part with a name, its own or an alias; raise ConfigError naming the nearest."""
    part = part_called(parts, name)
    if part:
        return part
    known = [one for part in parts for one in (part.name, *part.aliases)]
    raise ConfigError(at_line(at, f"field {name!r}"), f"{what} has no such field", nearest(name, known))
