# SPDX-License-Identifier: Apache-2.0
"""From the metrics of a source to the fields that are read and the instruments that export them (pure)."""

from collections.abc import Mapping, Sequence

from sidecar.describe.entry_error import entry_error
from sidecar.describe.shape import Encoding, Part, part_called
from sidecar.describe.spec import MetricSpec
from sidecar.errors import each
from sidecar.kinds import KINDS, Kind
from sidecar.model import Field
from sidecar.schema import Instrument
from sidecar.suggest import suggest

_KINDS: Mapping[Encoding, tuple[Kind, ...]] = {
    Encoding.UNSIGNED: tuple(KINDS.values()),
    Encoding.SIGNED: tuple(kind for kind in KINDS.values() if not kind.is_monotonic),
    Encoding.BOOL: tuple(kind for kind in KINDS.values() if kind.needs_values),
    Encoding.ENUM: tuple(kind for kind in KINDS.values() if kind.needs_values),
}
"""The kinds of metric that a field can be, the usual one first."""


def build_instruments(
    metrics: Sequence[MetricSpec], parts: Sequence[Part], what: str, *, summed: bool
) -> tuple[tuple[Field, ...], tuple[Instrument, ...]]:
    """
    Return the fields to read, in the map's order, and the instruments that export them.

    Args:
        metrics: The metrics of the source.
        parts: The parts of the map's value.
        what: The map, for messages.
        summed: Whether the value is summed over CPUs.

    Raises:
        ConfigError: The value has no such field, or the field cannot be a metric of that kind.

    """
    used: dict[str, tuple[Part, set[Kind]]] = {}

    def instrument(metric: MetricSpec) -> Instrument:
        part = find_part(parts, metric.field, metric.at, what)
        kinds = used.setdefault(part.name, (part, set()))[1]
        kinds.add(metric.kind)
        _refuse_kind(metric, part, kinds)
        if part.encoding in (Encoding.BOOL, Encoding.ENUM) and summed:
            raise entry_error(
                metric.at,
                f"metric {metric.name!r}",
                f"{part.name} is {part.encoding.value}, and a sum over CPUs would mean nothing",
                "write `cpu: cpu` in the source, for one series per CPU",
            )
        return Instrument(
            metric.name, metric.unit, metric.description, part.name, metric.kind, metric.attributes
        )

    instruments = each(instrument, metrics)
    in_order = sorted(used.values(), key=lambda use: use[0].bit_offset)
    return tuple(_field(part, kinds) for part, kinds in in_order), tuple(instruments)


def _field(part: Part, kinds: set[Kind]) -> Field:
    # An unsigned field that the program also decrements is right on one CPU only in two's complement.
    signed = part.encoding is Encoding.SIGNED or any(kind.signed for kind in kinds)
    signed = signed or any(number < 0 for number in part.names)
    return Field(part.name, part.bit_offset, part.bits, signed, part.big_endian)


def _refuse_kind(metric: MetricSpec, part: Part, kinds: set[Kind]) -> None:
    at, entry = metric.at, f"metric {metric.name!r}"
    if part.bits > 64 or part.encoding not in _KINDS:
        cause = f"field {part.name} is {part.type}, not a number of up to 64 bits"
        raise entry_error(at, entry, cause, "leave it out")
    if metric.kind not in _KINDS[part.encoding]:
        cause = "may fall" if part.encoding is Encoding.SIGNED else "is not a count"
        raise entry_error(
            at,
            entry,
            f"kind {metric.kind.word}, but field {part.name} is {part.encoding.value} and {cause}",
            f"write `kind: {_KINDS[part.encoding][0].word}`",
        )
    if {Kind.COUNTER, Kind.UPDOWNCOUNTER} <= kinds:
        raise entry_error(
            at,
            entry,
            f"field {part.name} is both a counter, which never falls, and an updowncounter",
            "write one of the two, or gauge",
        )


def find_part(parts: Sequence[Part], name: str, at: str, what: str) -> Part:
    """Return the part with this name or alias; raise ConfigError, with the nearest name, if there is none."""
    part = part_called(parts, name)
    if part:
        return part
    known = [name for part in parts for name in (part.name, *part.aliases)]
    raise entry_error(at, f"field {name!r}", f"{what} has no such field", suggest(name, known))
