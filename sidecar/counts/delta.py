# SPDX-License-Identifier: Apache-2.0
"""
From snapshots and a baseline to series and the next baseline (pure).

A map is read by key and reported by series: the count of a key goes to the series that its attributes name at
that moment, and stays there. Several keys may share a series, and a key may move to another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sidecar.attributes import encode_attributes
from sidecar.counts import fields, idle
from sidecar.counts.aggregate import Aggregated, add_to, aggregate
from sidecar.counts.cells import Grow, grow_of
from sidecar.counts.columns import columnar_window
from sidecar.counts.combine import BySeries
from sidecar.counts.placing import Placed
from sidecar.counts.resets import Counters, Resets, counters_of
from sidecar.counts.unused import completed
from sidecar.counts.window import NextWindow
from sidecar.model import ALL_VIEWS, Attributes, Baseline, Column, Reading, Series, Snapshot, StreamState
from sidecar.schema import OVERFLOW, Part, Schema
from sidecar.u64 import added

# The current map, and the one before it, which a rollback brings back; besides all that can still be read.
_MAPS_REMEMBERED = 2
# Those of the present map, of the one before it, and of some that lack fields.
_COLUMNS_KEPT = 8


def advance(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, *, include_idle: bool = True
) -> NextWindow:
    """
    Return the next window of one source; unless *include_idle*, idle series may be omitted from the export.

    *snapshots* are one for each map of the source since the baseline, oldest map first: usually one; two when
    a new map replaced the old one, which is read a last time. For each there are three cases:

    1. The baseline has the map: the count is the difference.
    2. It does not: the map counted from zero, so the count is all it holds.
    3. All counters of an entry are below their baseline within one map: it was emptied, so the count is all
       it holds now. The same holds for a key that was deleted and comes back. A counter that fell while
       others did not is no counter: its fall is not counted (`resets`).

    The window is (end of the last one, *taken_ns* of the newest snapshot]. It is at least 1 ns long, even if
    the wall clock was stepped back, because a data point that is not newer than the last one is dropped as a
    duplicate. Rates are divided by `Snapshot.after_ns` instead.
    """
    if schema.only_used:
        baseline, snapshots = completed(baseline, snapshots)
    newest = snapshots[-1]
    maps = dict(baseline.maps)
    for snapshot in snapshots:
        maps.pop(snapshot.identity, None)
        maps[snapshot.identity] = snapshot.reading
    while len(maps) > max(_MAPS_REMEMBERED, len(snapshots)):
        del maps[next(iter(maps))]
    # Complete but for the streams, which the window brings.
    after = Baseline(
        baseline.start_time_ns,
        max(newest.taken_ns, baseline.end_ns + 1),
        maps,
        _counting(schema, newest.reading.columns).fields,
        baseline.streams,
        newest.boottime_ns,
    )
    unreported = [
        snapshot
        for snapshot in snapshots
        if snapshot is newest or baseline.maps.get(snapshot.identity) != snapshot.reading
    ]
    # Windows of 1 ns do not tell how long a series was omitted.
    include_idle = include_idle or newest.taken_ns <= baseline.end_ns
    return columnar_window(baseline, unreported, schema, after, include_idle=include_idle) or _window_by_key(
        baseline, unreported, schema, after, include_idle=include_idle
    )


def _window_by_key(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, after: Baseline, *, include_idle: bool
) -> NextWindow:
    newest = snapshots[-1]
    order = _counting(schema, newest.reading.columns).order
    maps = dict(baseline.maps)
    counts: list[tuple[Attributes, tuple[int, ...]]] = []
    placed = Placed(schema)
    resets = Resets()
    vanished: list[bytes] = []
    for snapshot in snapshots:
        before, reading = maps.pop(snapshot.identity, None), placed.rows_of(snapshot.reading)
        known, columns = fields.known_cells(before and placed.rows_of(before), reading)
        vanished += filter(placed.has, known.keys() - reading.cells.keys())
        counting = _counting(schema, columns)
        placed.labels = reading.labels
        reordered = fields.reorder(counting.names, order)
        # The labels of the current map cannot decode the keys of one that had others.
        is_decodable = snapshot.identity.key_size == newest.identity.key_size
        for key, now in reading.cells.items():
            parts = placed.parts(key)
            if not parts:
                continue
            grow, counters = counting.of(parts)
            was = known.get(key)
            if was is not None and counters.may_have_fallen(now, was):
                was = resets.start_of(key, now, was, counters)
            grown = reordered(grow(now, was))
            if schema.views:
                placed.add(key, parts, grown, is_decodable=is_decodable)
            else:
                attributes = (*schema.attributes, OVERFLOW)
                if is_decodable:
                    attributes = schema.attributes_of(key, labels=reading.labels)
                counts.append((attributes, grown))
    placed.add_unused_rows(reading.cells)
    aggregated = aggregate(fields.streams_of(baseline, after.fields), counts or placed.items(), schema)
    elapsed_ns = newest.after_ns(baseline.end_ns, baseline.boottime_ns)
    held = _values(snapshots, schema, aggregated.counts)
    series = _series(baseline, after.end_ns, aggregated, held, elapsed_ns, placed.views)
    to_export = series if include_idle or not idle.can_omit_idle(schema, len(series)) else idle.select(series)
    # An omitted series counted nothing, so its state stays as it is.
    exported = {window.attributes: StreamState(window.totals, after.end_ns) for window in to_export}
    return NextWindow(
        series,
        to_export,
        after.with_streams({**aggregated.streams, **exported}),
        snapshots,
        tuple(resets.emptied),
        tuple(vanished),
        aggregated.overflowed,
        aggregated.forgotten,
        resets.fallen,
        resets.falls,
        _gone(baseline, aggregated, schema),
    )


def baseline_from_zero(snapshot: Snapshot) -> Baseline:
    """Return the baseline of a source that was never reported: all that its map holds is still to report."""
    empty = Reading(snapshot.reading.columns, {})
    start_ns = snapshot.counting_since_ns
    return Baseline(start_ns, start_ns, {snapshot.identity: empty}, fields.names(snapshot.reading))


def baseline_as_reported(snapshot: Snapshot, schema: Schema) -> Baseline:
    """
    Return the baseline after all that a map holds was reported, in the first nanosecond of its counting.

    Exported as base point, it gives a new Collector the whole count, and adds nothing to a known stream.
    """
    first_ns = snapshot.counting_since_ns + 1
    return advance(baseline_from_zero(snapshot), [replace(snapshot, taken_ns=first_ns)], schema).baseline


def baseline_from_now(snapshot: Snapshot) -> Baseline:
    """Return the baseline that excludes all that a map holds, because it may have been reported before."""
    reading, now_ns = snapshot.reading, snapshot.taken_ns
    maps = {snapshot.identity: reading}
    return Baseline(now_ns, now_ns, maps, fields.names(reading), boottime_ns=snapshot.boottime_ns)


def probe(baseline: Baseline, snapshot: Snapshot, schema: Schema) -> NextWindow:
    """
    Return a window of 1 ns after the baseline with the series of a reading, all of which count nothing.

    The counts since the baseline remain to be reported, so nothing is lost if the Collector rejects it.
    """
    as_if_known = replace(baseline, maps={snapshot.identity: snapshot.reading})
    window = advance(as_if_known, [replace(snapshot, taken_ns=0)], schema)
    after = replace(window.baseline, maps=baseline.maps, boottime_ns=baseline.boottime_ns)
    return window._replace(baseline=after)


def with_lost_maps(seen: Sequence[Snapshot], read: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """Return *read*, preceded by the snapshots in *seen* of maps that can no longer be read."""
    present = {snapshot.identity for snapshot in read}
    return (*(snapshot for snapshot in seen if snapshot.identity not in present), *read)


def _series(
    baseline: Baseline,
    end_ns: int,
    aggregated: Aggregated,
    held: Mapping[Attributes, tuple[int, ...]],
    elapsed_ns: int,
    views: Mapping[Attributes, int],
) -> list[Series]:
    series = []
    for attributes, counts in aggregated.counts.items():
        state = aggregated.streams.get(attributes)
        series.append(
            Series(
                attributes,
                start_time_ns=baseline.start_time_ns,
                is_new=state is None,
                start_ns=state.end_ns if state else baseline.end_ns,
                end_ns=end_ns,
                counts=counts,
                totals=added(state.totals, counts) if state else counts,
                values=held.get(attributes, ()),
                elapsed_ns=elapsed_ns,
                views=views.get(attributes, ALL_VIEWS),
            )
        )
    return series


def _gone(baseline: Baseline, aggregated: Aggregated, schema: Schema) -> tuple[bytes, ...]:
    if not schema.has_gauges:
        return ()
    return tuple(
        encode_attributes(attributes)
        for attributes, state in aggregated.streams.items()
        if state.end_ns == baseline.end_ns and attributes not in aggregated.counts
    )


def _values(
    snapshots: Sequence[Snapshot], schema: Schema, placed: Mapping[Attributes, object]
) -> Mapping[Attributes, tuple[int, ...]]:
    """
    Return the values of each series' fields, if some instrument is a gauge.

    A series without a key in the newest map has the values of the last map that had one. The values of a
    series that is not in *placed* go to the overflow series.
    """
    held: dict[Attributes, tuple[int, ...]] = {}
    if not schema.needs_values:
        return held
    if not schema.only_sums:
        return _combined_values(snapshots, schema, placed)
    newest, overflow = snapshots[-1], (*schema.attributes, OVERFLOW)
    order = _counting(schema, newest.reading.columns).order
    for snapshot in snapshots:
        in_map: dict[Attributes, tuple[int, ...]] = {}
        of_views = Placed(schema)
        counting = _counting(schema, snapshot.reading.columns)
        reordered = fields.reorder(counting.names, order)
        is_decodable = snapshot.identity.key_size == newest.identity.key_size
        reading = of_views.rows_of(snapshot.reading)
        of_views.labels = reading.labels
        for key, now in reading.cells.items():
            parts = of_views.parts(key)
            if schema.views:
                if parts:
                    holds = reordered(counting.of(parts)[0](now, None))
                    of_views.add(key, parts, holds, is_decodable=is_decodable)
                continue
            attributes = schema.attributes_of(key, labels=reading.labels) if is_decodable else overflow
            holds = reordered(counting.of(parts)[0](now, None))
            add_to(in_map, attributes if attributes in placed else overflow, holds)
        if snapshot is newest:
            of_views.add_unused_rows(reading.cells)
        for attributes, numbers in of_views.items():
            add_to(in_map, attributes if attributes in placed else overflow, numbers)
        held |= in_map
    return held


def _combined_values(
    snapshots: Sequence[Snapshot], schema: Schema, placed: Mapping[Attributes, object]
) -> Mapping[Attributes, tuple[int, ...]]:
    """Return the same where some field is not summed over the keys of a series."""
    held: dict[Attributes, tuple[int, ...]] = {}
    newest, overflow = snapshots[-1], (*schema.attributes, OVERFLOW)
    order = _counting(schema, newest.reading.columns).order
    by_series, of_views = BySeries(schema.numbers), Placed(schema)
    for snapshot in snapshots:
        in_map: dict[Attributes, list[int | None]] = {}
        reading = of_views.rows_of(snapshot.reading)
        of_views.labels = reading.labels
        counting = _counting(schema, snapshot.reading.columns)
        reordered = fields.reorder(counting.names, order)
        is_decodable = snapshot.identity.key_size == newest.identity.key_size
        rows = [(key, of_views.parts(key), now) for key, now in reading.cells.items()]
        if snapshot is newest:
            zeros = (0,) * sum(column.cells for column in snapshot.reading.columns)
            rows += [(part.view.row or b"", [part], zeros) for part in of_views.unused_rows(reading.cells)]
        for key, parts, now in rows:
            numbers = reordered(counting.of(parts)[0](now, None))
            for attributes, more in of_views.each(key, parts, numbers, is_decodable=is_decodable):
                place = attributes if attributes in placed else overflow
                by_series.add(in_map.setdefault(place, [None] * len(schema.numbers)), more)
        held |= {attributes: tuple(number or 0 for number in each) for attributes, each in in_map.items()}
    return held


class _Counting:
    """
    How the cells of a reading are counted by a schema.

    Attributes:
        columns: The columns of the reading.
        names: The names of its fields.
        order: The names of the fields in the order that the views of the schema expect.
        fields: The fields of the streams' totals.

    """

    def __init__(self, schema: Schema, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.names = tuple([column.field for column in columns])
        self.order = fields.read(schema, self.names)
        self.fields = tuple(schema.index) if schema.views else self.names
        self._schema = schema
        self._known: dict[int, tuple[Grow, Counters]] = {}

    def of(self, parts: Sequence[Part]) -> tuple[Grow, Counters]:
        """Return how the cells of a key grow, and which of them are counters, by the views that it is in."""
        views = parts[0].bit if len(parts) == 1 else sum([part.bit for part in parts])
        if views not in self._known:
            columns = self._schema.columns_in(views, self.columns)
            self._known[views] = grow_of(columns), counters_of(columns)
        return self._known[views]


def _counting(schema: Schema, columns: tuple[Column, ...]) -> _Counting:
    """Return how columns are counted, kept with the schema: they are the same object in each cycle."""
    kept: _Counting | None = schema.kept.get(id(columns))
    if kept is None or kept.columns is not columns:
        if len(schema.kept) >= _COLUMNS_KEPT:
            schema.kept.clear()
        kept = schema.kept[id(columns)] = _Counting(schema, columns)
    return kept
