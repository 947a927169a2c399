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
from sidecar.counts.cells import growth, values
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
        tuple(schema.index) if schema.views else fields.names(newest.reading),
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
    maps = dict(baseline.maps)
    counts: list[tuple[Attributes, tuple[int, ...]]] = []
    placed = Placed(schema)
    resets = Resets()
    vanished: list[bytes] = []
    for snapshot in snapshots:
        before, reading = maps.pop(snapshot.identity, None), placed.rows_of(snapshot.reading)
        known, columns = fields.known_cells(before and placed.rows_of(before), reading)
        vanished += filter(placed.has, known.keys() - reading.cells.keys())
        counting = _Counting(schema, columns)
        placed.labels = reading.labels
        reordered = fields.reorder(fields.names(snapshot.reading), fields.read(schema, newest.reading))
        # The labels of the current map cannot decode the keys of one that had others.
        is_decodable = snapshot.identity.key_size == newest.identity.key_size
        for key, now in reading.cells.items():
            parts = placed.parts(key)
            if not parts:
                continue
            of_key, counters = counting.of(parts)
            was = known.get(key)
            if was is not None and counters.may_have_fallen(now, was):
                was = resets.start_of(key, now, was, counters)
            grown = reordered(growth(now, was, of_key))
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
    for snapshot in snapshots:
        in_map: dict[Attributes, tuple[int, ...]] = {}
        of_views = Placed(schema)
        columns = snapshot.reading.columns
        counting = _Counting(schema, columns)
        reordered = fields.reorder(fields.names(snapshot.reading), fields.read(schema, newest.reading))
        is_decodable = snapshot.identity.key_size == newest.identity.key_size
        reading = of_views.rows_of(snapshot.reading)
        of_views.labels = reading.labels
        for key, now in reading.cells.items():
            parts = of_views.parts(key)
            if schema.views:
                if parts:
                    holds = reordered(values(now, counting.of(parts)[0]))
                    of_views.add(key, parts, holds, is_decodable=is_decodable)
                continue
            attributes = schema.attributes_of(key, labels=reading.labels) if is_decodable else overflow
            add_to(in_map, attributes if attributes in placed else overflow, reordered(values(now, columns)))
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
    by_series, of_views = BySeries(schema.numbers), Placed(schema)
    for snapshot in snapshots:
        in_map: dict[Attributes, list[int | None]] = {}
        reading = of_views.rows_of(snapshot.reading)
        of_views.labels = reading.labels
        counting = _Counting(schema, snapshot.reading.columns)
        reordered = fields.reorder(fields.names(snapshot.reading), fields.read(schema, newest.reading))
        is_decodable = snapshot.identity.key_size == newest.identity.key_size
        rows = [(key, of_views.parts(key), now) for key, now in reading.cells.items()]
        if snapshot is newest:
            zeros = (0,) * sum(column.cells for column in snapshot.reading.columns)
            rows += [(part.view.row or b"", [part], zeros) for part in of_views.unused_rows(reading.cells)]
        for key, parts, now in rows:
            numbers = reordered(values(now, counting.of(parts)[0]))
            for attributes, more in of_views.each(key, parts, numbers, is_decodable=is_decodable):
                place = attributes if attributes in placed else overflow
                by_series.add(in_map.setdefault(place, [None] * len(schema.numbers)), more)
        held |= {attributes: tuple(number or 0 for number in each) for attributes, each in in_map.items()}
    return held


class _Counting:
    """The columns of a reading and their counters, as they are for the keys of some views."""

    def __init__(self, schema: Schema, columns: tuple[Column, ...]) -> None:
        self._schema, self._columns = schema, columns
        self._known: dict[int, tuple[tuple[Column, ...], Counters]] = {}

    def of(self, parts: Sequence[Part]) -> tuple[tuple[Column, ...], Counters]:
        views = sum([part.bit for part in parts])
        if views not in self._known:
            columns = self._schema.columns_in(views, self._columns)
            self._known[views] = columns, counters_of(columns)
        return self._known[views]
