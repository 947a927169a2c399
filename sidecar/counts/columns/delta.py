# SPDX-License-Identifier: Apache-2.0
"""
Take a source with a large map a window further: what `delta.step` says, column by column (pure).

`delta` has the rules and the reasons. Whatever is rare (another layout, a map with other keys) is left to it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sidecar.counts import idle
from sidecar.counts.aggregate import WindowResult
from sidecar.counts.columns.aggregate import Aggregated, indexed, next_key_index, post
from sidecar.counts.columns.growth import U64Array, cells_of, grown, values
from sidecar.counts.columns.match import Places
from sidecar.counts.columns.series import SeriesTable
from sidecar.counts.columns.table import StreamTable, Table, key_size
from sidecar.counts.resets import Resets
from sidecar.model import Baseline, Reading, Snapshot
from sidecar.schema import Schema


def fits(baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema) -> bool:
    """Return whether this module can do it: include_idle is in the same columns."""
    newest = snapshots[-1]
    columns = newest.reading.columns
    readings = [
        reading
        for one in snapshots
        for reading in (one.reading, baseline.maps.get(one.identity))
        if reading is not None and reading.cells
    ]
    return (
        all(one.columns == columns for one in readings)
        and all(key_size(one.cells) == key_size(newest.reading.cells) for one in readings)
        and all(one.identity.key_size == newest.identity.key_size for one in snapshots)
        and (len(snapshots) == 1 or not schema.needs_values)
        and (baseline.fields == tuple(one.field for one in columns))
    )


def step(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, end_ns: int, *, include_idle: bool
) -> WindowResult:
    """Return what the window up to *end_ns* brought."""
    columns = snapshots[-1].reading.columns
    streams = StreamTable.of(baseline.streams, len(columns))
    tables = [_table(one.reading, snapshots[-1]) for one in snapshots]
    resets, parts, key_indexes = Resets(), [], []
    for snapshot, table in zip(snapshots, tables, strict=True):
        before = baseline.maps.get(snapshot.identity)
        was = _table(before, snapshots[-1]) if before else None
        parts.append(grown(table, was, columns, resets))
        key_indexes.append(indexed(streams, table, schema))
    posted = post(
        streams,
        np.concatenate([np.frombuffer(one.places, np.int64) for one in key_indexes]),
        [name for one in key_indexes for name in one.waiting],
        np.concatenate([one.counts for one in parts], axis=1),
        schema,
    )
    held = values(cells_of(tables[-1], columns), columns) if schema.needs_values else None
    counted = _counted(posted)
    elapsed_ns = snapshots[-1].after_ns(baseline.end_ns, baseline.boottime_ns)
    series = said = _series(posted, counted, baseline, end_ns, held, elapsed_ns)
    if not include_idle and idle.can_omit_idle(schema, len(series)):
        said = series.only(_select(series))
    key_index = next_key_index(
        key_indexes[-1], posted.places[len(posted.places) - len(tables[-1]) :], posted.last
    )
    return WindowResult(
        series,
        said,
        replace(_said(counted, said.places, end_ns), key_index=key_index),
        tuple(resets.emptied),
        tuple(key for one in parts for key in one.vanished),
        posted.overflowed,
        posted.forgotten,
        resets.fallen,
        resets.falls,
        _gone(posted, baseline.end_ns) if schema.has_gauges else (),
    )


def _table(reading: Reading, like: Snapshot) -> Table:
    size = like.reading.cells.size if isinstance(like.reading.cells, Table) else 0
    return Table.of(reading.cells, size)


def _series(
    posted: Aggregated,
    streams: StreamTable,
    baseline: Baseline,
    end_ns: int,
    held: U64Array | None,
    elapsed_ns: int,
) -> SeriesTable:
    """Return the series of a window; *streams* has what they come to."""
    ends, totals = np.frombuffer(posted.streams.ends, np.uint64), _totals(streams)
    if not posted.whole:
        ends, totals = ends[posted.order], totals[:, posted.order]
    is_new = ends == 0
    return SeriesTable(
        streams.series,
        posted.order,
        baseline.start_time_ns,
        end_ns,
        is_new,
        np.where(is_new, np.uint64(baseline.end_ns), ends),
        posted.counts,
        totals,
        None if held is None else posted.summed(held),
        elapsed_ns,
    )


def _gone(posted: Aggregated, end_ns: int) -> tuple[bytes, ...]:
    """Return the names of the series that were said in the last window, up to *end_ns*, without a key now."""
    last = np.frombuffer(posted.streams.ends, np.uint64) == end_ns
    last[posted.order] = False
    return tuple(posted.streams.series[at] for at in np.flatnonzero(last).tolist())


def _select(series: SeriesTable) -> Places:
    """Return which of the series are said, as `quiet.select` does."""
    number = np.arange(len(series), dtype=np.uint64)
    chosen = series.counts.any(axis=0) | series.is_new
    chosen |= idle.needs_refresh(number, series.start_ns, np.uint64(series.end_ns))
    return np.flatnonzero(chosen)


def _counted(posted: Aggregated) -> StreamTable:
    """Return the streams with what the window brought."""
    totals = _totals(posted.streams)
    if posted.whole:
        return replace(posted.streams, totals=(totals + posted.counts).tobytes())
    totals = totals.copy()
    for account, counted in zip(totals, posted.counts, strict=True):
        account[posted.order] += counted
    return replace(posted.streams, totals=totals.tobytes())


def _totals(streams: StreamTable) -> U64Array:
    return np.frombuffer(streams.totals, np.uint64).reshape(streams.width, len(streams))


def _said(streams: StreamTable, places: Places, end_ns: int) -> StreamTable:
    """Return the streams after some series were said; the others' next window starts where it did."""
    ends = np.frombuffer(streams.ends, np.uint64).copy()
    ends[places] = end_ns
    return replace(streams, ends=ends.tobytes())
