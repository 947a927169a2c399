# SPDX-License-Identifier: Apache-2.0
"""From the metrics of a source to the fields that are read and the instruments that export them (pure)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from sidecar.describe import prometheus_names
from sidecar.describe.decoders import NameOf
from sidecar.describe.elements import EVERY, with_elements
from sidecar.describe.entry_error import entry_error
from sidecar.describe.histograms import array_slots, build_histogram, elements_of, slots_of
from sidecar.describe.meaning import aggregate_of
from sidecar.describe.shape import Encoding, Part, part_called
from sidecar.describe.spec import MetricSpec, view_name
from sidecar.errors import each
from sidecar.kinds import KINDS, Kind
from sidecar.model import Aggregate, Field
from sidecar.schema import Instrument
from sidecar.suggest import suggest

_KINDS: Mapping[Encoding, tuple[Kind, ...]] = {
    Encoding.UNSIGNED: tuple(KINDS.values()),
    Encoding.SIGNED: tuple(kind for kind in KINDS.values() if not kind.is_monotonic),
    Encoding.BOOL: tuple(kind for kind in KINDS.values() if kind.needs_values),
    Encoding.ENUM: tuple(kind for kind in KINDS.values() if kind.needs_values),
}
"""The kinds of metric that a field can be, the usual one first."""


class Built(NamedTuple):
    """
    What the metrics of a source need and yield.

    Attributes:
        fields: The fields to read, in the map's order.
        instruments: The metrics.
        views: The fields of each view, by its name.

    """

    fields: tuple[Field, ...]
    instruments: tuple[Instrument, ...]
    views: Mapping[str, tuple[Field, ...]]


class _Use:
    """The kinds of metric, by view, that a part of the value yields under one aggregate."""

    def __init__(self, part: Part, name: str, aggregate: Aggregate, order: str) -> None:
        self.part, self.name, self.aggregate, self.order = part, name, aggregate, order
        self.kinds: dict[str, set[Kind]] = {}

    def field(self, view: str | None = None) -> Field:
        """Return the field, signed as the metrics of a view need it; without one, if those of all do."""
        part = self.part
        # An unsigned field that the program also decrements is right on one CPU only in two's complement.
        views = self.kinds.values() if view is None else [self.kinds[view]]
        signed = all(any(kind.signed for kind in kinds) for kinds in views)
        signed = signed or part.encoding is Encoding.SIGNED or any(number < 0 for number in part.names)
        return Field(
            self.name, part.bit_offset, part.bits, signed, part.big_endian, self.aggregate, self.order
        )


def build_instruments(
    metrics: Sequence[MetricSpec],
    parts: Sequence[Part],
    what: str,
    *,
    summed: bool,
    entries: int = 0,
    name_of: NameOf | None = None,
) -> Built:
    """
    Return the fields to read and the instruments that export them.

    Args:
        metrics: The metrics of the source.
        parts: The parts of the map's value.
        what: The map, for messages.
        summed: Whether the value is summed over CPUs.
        entries: How many rows an array has; 0 for any other map.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        ConfigError: The value has no such field, or the field cannot be a metric of that kind.

    """
    uses: dict[str, _Use] = {}
    streams: dict[object, str] = {}

    def use(metric: MetricSpec, part: Part) -> str:
        view = view_name(metric)
        by_name = aggregate_of(part) if summed and metric.kind is Kind.GAUGE else "sum"
        aggregate, order = metric.aggregate or by_name, ""
        if metric.by:
            time = find_part(parts, metric.by, metric.at, what)
            order = use(replace(metric, aggregate="max", by="", field=metric.by), time)
        # Another name than that of its sum: their cells are not comparable.
        by = f" by {metric.by}" if order else ""
        name = part.name if aggregate == "sum" else f"{aggregate}({part.name}{by})"
        of_part = uses.setdefault(name, _Use(part, name, aggregate, order)).kinds
        of_part.setdefault(view, set()).add(metric.kind)
        _refuse_kind(metric, part, of_part)
        if part.encoding in (Encoding.BOOL, Encoding.ENUM) and summed and aggregate == "sum":
            raise entry_error(
                metric.at,
                f"metric {metric.name!r}",
                f"{part.name} is {part.encoding.value}, and a sum over CPUs would mean nothing",
                "write `cpu: cpu` in the source, for one series per CPU, or `aggregate: max`",
            )
        return name

    def instrument(metric: MetricSpec, part: Part | None = None) -> Instrument:
        found = Instrument(
            metric.name,
            metric.unit,
            metric.description,
            metric.field,
            metric.kind,
            metric.attributes,
            view_name(metric),
            metric.scale,
        )
        if metric.kind.is_histogram:
            return replace(found, **_histogram(metric, parts, what, partial(use, metric), entries))
        part = part or find_part(parts, metric.field, metric.at, what)
        _refuse_twin(metric, part, streams)
        return replace(found, field=use(metric, part))

    def of_metric(metric: MetricSpec) -> list[Instrument]:
        if EVERY in metric.field.split("."):
            return [instrument(*element) for element in with_elements(metric, parts, what, name_of)]
        return [instrument(metric)]

    instruments = list(chain.from_iterable(each(of_metric, metrics)))
    in_order = sorted(uses.values(), key=lambda use: use.part.bit_offset)
    views = {
        name: tuple(use.field(name) for use in in_order if name in use.kinds)
        for name in dict.fromkeys(map(view_name, metrics))
    }
    return Built(tuple(use.field() for use in in_order), tuple(instruments), views)


def _histogram(
    metric: MetricSpec, parts: Sequence[Part], what: str, use: Callable[[Part], str], entries: int
) -> dict[str, Any]:
    """Return what an instrument has if it is a histogram: `histogram` and `reads`."""
    view = view_name(metric)
    sums: list[str] = []
    if metric.bucket:
        field = use(find_part(parts, metric.field, metric.at, what))
        slots, reads = slots_of(metric, entries), [field]
        counts = [f"{field}{view}[{slot}]" for slot in range(slots)]
        if isinstance(metric.sum, int):
            sums = [f"{field}{view}[{slots}]"]
        elif metric.sum:
            reads.append(use(find_part(parts, metric.sum, metric.at, what)))
            sums = [f"{reads[-1]}{view}[{slot}]" for slot in range(slots)]
    else:
        elements = elements_of(parts, metric)
        slots, reads = array_slots(metric, len(elements)), [use(element) for element in elements]
        counts = [name + view for name in reads[:slots]]
        if isinstance(metric.sum, int):
            sums = [reads[slots] + view]
        elif metric.sum:
            reads.append(use(find_part(parts, metric.sum, metric.at, what)))
            sums = [reads[-1] + view]
    return {"histogram": build_histogram(metric, counts, sums), "reads": tuple(reads)}


def _refuse_twin(metric: MetricSpec, part: Part, streams: dict[object, str]) -> None:
    """Refuse two fields that would write one stream: `clashes` cannot know the attributes of elements."""
    labels = frozenset(map(prometheus_names.label_pair, metric.attributes))
    twin = streams.setdefault((prometheus_names.metric(metric.name), view_name(metric), labels), part.name)
    if twin != part.name:
        raise entry_error(
            metric.at,
            f"metric {metric.name!r}",
            f"{twin} and {part.name} would have the same attributes",
            "give them names or attributes that differ",
        )


def _refuse_kind(metric: MetricSpec, part: Part, views: Mapping[str, set[Kind]]) -> None:
    at, entry = metric.at, f"metric {metric.name!r}"
    if part.bits > 64 or part.encoding not in _KINDS:
        cause = f"field {part.name} is {part.type}, not a number of up to 64 bits"
        raise entry_error(at, entry, cause, "leave it out")
    if metric.kind not in (*_KINDS[part.encoding], Kind.EXPONENTIAL) or (
        metric.kind.is_histogram and part.encoding is not Encoding.UNSIGNED
    ):
        cause = "may fall" if part.encoding is Encoding.SIGNED else "is not a count"
        usual = _KINDS[part.encoding][0].word
        raise entry_error(
            at,
            entry,
            f"kind {metric.kind.word}, but field {part.name} is {part.encoding.value} and {cause}",
            f"write `kind: {usual}`"
            if not metric.kind.is_histogram
            else "declare it unsigned in the program, or in a `layout:`",
        )
    # One row of an array may be the one, and another row the other.
    rows = (view_name(metric), "") if metric.row is not None else tuple(views)
    kinds: set[Kind] = set().union(*(views[view] for view in views if view in rows))
    if Kind.UPDOWNCOUNTER in kinds and any(kind.is_monotonic for kind in kinds):
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
