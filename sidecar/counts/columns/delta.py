# SPDX-License-Identifier: Apache-2.0
"""
The next window of a source with a large map: the twin of `counts.delta`, by numpy (pure).

The rules and their reasons are there. Rare cases are left to it: another layout, a map with other keys, rows
of an array with metrics of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import accumulate

import numpy as np

from sidecar.counts import idle
from sidecar.counts.columns.aggregate import Aggregated, Spread, aggregate, index_keys, next_key_index
from sidecar.counts.columns.arrays import Rows, U64Array, buckets_of, ends_of, totals_of
from sidecar.counts.columns.names import together
from sidecar.counts.columns.placing import MOST_VIEWS, Places, growth_of, keys_of, places_of, values_of
from sidecar.counts.columns.series import SeriesTable
from sidecar.counts.columns.table import KeyIndex, LabelTable, StreamTable, key_size
from sidecar.counts.resets import Resets
from sidecar.counts.window import NextWindow
from sidecar.model import Baseline, Snapshot
from sidecar.schema import Schema


def fits(baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema) -> bool:
    """Return whether all readings have the same columns and keys of one size, as `window` requires."""
    if len(schema.parts) > MOST_VIEWS or any(part.view.row is not None for part in schema.parts):
        return False
    newest = snapshots[-1]
    columns = newest.reading.columns
    readings = [
        reading
        for snapshot in snapshots
        for reading in (snapshot.reading, baseline.maps.get(snapshot.identity))
        if reading is not None and reading.cells
    ]
    return (
        all(reading.columns == columns for reading in readings)
        and all(key_size(reading.cells) == key_size(newest.reading.cells) for reading in readings)
        and all(snapshot.identity.key_size == newest.identity.key_size for snapshot in snapshots)
        and (len(snapshots) == 1 or not schema.needs_values)
        and all(
            isinstance(snapshot.reading.labels, LabelTable) or not snapshot.reading.labels
            for snapshot in snapshots
        )
        and _has_numbers(baseline, tuple(column.field for column in columns), schema)
    )


def _has_numbers(baseline: Baseline, read: tuple[str, ...], schema: Schema) -> bool:
    """Return whether the streams have the numbers of the schema, given the fields that were read."""
    if not schema.views:
        return baseline.fields == read
    fields = tuple(field.name for field in schema.layout.fields)
    return fields == read and (not baseline.streams or baseline.fields == tuple(schema.index))


def window(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, after: Baseline, *, include_idle: bool
) -> NextWindow:
    """Return the next window; *after* is the baseline after it but for the streams."""
    newest = snapshots[-1]
    columns = newest.reading.columns
    streams = StreamTable.of(baseline.streams or {}, len(schema.numbers) if schema.views else len(columns))
    size, known = key_size(newest.reading.cells), streams.key_index
    resets, parts, key_indexes, placed = Resets(), [], [], []
    for snapshot in snapshots:
        before = baseline.maps.get(snapshot.identity)
        was = keys_of(before, size, schema, known) if before and before.cells else None
        keys = keys_of(snapshot.reading, size, schema, known)
        parts.append(growth_of(keys, was, columns, schema, resets))
        places = places_of(keys)
        key_indexes.append(index_keys(streams, keys, places, schema))
        placed.append(places)
    is_one = len(snapshots) == 1
    aggregated = aggregate(
        streams,
        b"".join(key_index.row_bytes for key_index in key_indexes),
        reduce(together, (key_index.unplaced for key_index in key_indexes)),
        parts[0].counts if is_one else np.concatenate([part.counts for part in parts], axis=1),
        schema,
        _spread(placed, key_indexes, [part.counts.shape[1] for part in parts], len(columns), schema),
    )
    held = values_of(keys, columns, schema) if schema.needs_values else None
    counted = _add_counts(aggregated)
    elapsed_ns = newest.after_ns(baseline.end_ns, baseline.boottime_ns)
    series = to_export = _series(aggregated, counted, baseline, after.end_ns, held, elapsed_ns, schema)
    if not include_idle and idle.can_omit_idle(schema, len(series)):
        which = _select(series)
        to_export = series if len(which) == len(series) else series.only(which)
    newest_rows = aggregated.key_rows[-len(key_indexes[-1].row_bytes) :] if len(placed[-1]) else b""
    key_index = next_key_index(key_indexes[-1], newest_rows, aggregated.overflow_row)
    exported = replace(_mark_exported(counted, to_export.rows, after.end_ns), key_index=key_index)
    return NextWindow(
        series,
        to_export,
        after.with_streams(exported),
        snapshots,
        tuple(resets.emptied),
        tuple(key for part in parts for key in part.vanished),
        aggregated.overflowed,
        aggregated.forgotten,
        resets.fallen,
        resets.falls,
        _gone(aggregated, baseline.end_ns) if schema.has_gauges else (),
    )


def _spread(
    placed: Sequence[Places],
    key_indexes: Sequence[KeyIndex],
    counts: Sequence[int],
    fields: int,
    schema: Schema,
) -> Spread:
    """Return which numbers of its series each key of several readings counts in, of so many keys each."""
    parts = schema.parts
    if not schema.views:
        parts = (parts[0]._replace(picks=tuple(range(fields))),)
    buckets = np.concatenate([buckets_of(key_index) for key_index in key_indexes])
    if len(parts) == 1:
        return Spread(parts, None, None, buckets)
    begins = [0, *accumulate(counts)]
    none = np.zeros(0, np.int64)
    keys = [
        begin + (none if each.keys is None else each.keys)
        for begin, each in zip(begins, placed, strict=False)
    ]
    views = [none if each.views is None else each.views for each in placed]
    return Spread(parts, np.concatenate(keys), np.concatenate(views), buckets)


def _series(
    aggregated: Aggregated,
    counted: StreamTable,
    baseline: Baseline,
    end_ns: int,
    held: U64Array | None,
    elapsed_ns: int,
    schema: Schema,
) -> SeriesTable:
    """Return the series of a window; *counted* are the streams with its counts."""
    ends, totals = ends_of(aggregated.streams), totals_of(counted)
    if not aggregated.is_whole:
        ends, totals = ends[aggregated.rows], np.take(totals, aggregated.rows, axis=1)
    is_new = ends == 0
    return SeriesTable(
        counted.series,
        aggregated.rows,
        baseline.start_time_ns,
        end_ns,
        is_new,
        np.where(is_new, np.uint64(baseline.end_ns), ends),
        aggregated.counts,
        totals,
        None if held is None else aggregated.values_by_series(held, schema),
        elapsed_ns,
        aggregated.row_bytes,
        aggregated.views,
    )


def _gone(aggregated: Aggregated, end_ns: int) -> tuple[bytes, ...]:
    """Return the series that were exported in the last window, up to *end_ns*, and have no key now."""
    is_gone = ends_of(aggregated.streams) == end_ns
    is_gone[aggregated.rows] = False
    return tuple(aggregated.streams.series[row] for row in np.flatnonzero(is_gone).tolist())


def _select(series: SeriesTable) -> Rows:
    """Return the positions of the series that must be exported: `idle.select`."""
    counted = np.bitwise_or.reduce(series.counts, axis=0) != 0
    moments, end_ns = _moments(len(series)), np.uint64(series.end_ns)
    return np.flatnonzero(idle.must_export(moments, counted, series.is_new, series.start_ns, end_ns))


@lru_cache(maxsize=1)
def _moments(count: int) -> U64Array:
    moments: U64Array = idle.moment_ns(np.arange(count, dtype=np.uint64))
    return moments


def _add_counts(aggregated: Aggregated) -> StreamTable:
    """Return the streams with the counts of the window in their totals."""
    totals = totals_of(aggregated.streams)
    if aggregated.is_whole:
        return replace(aggregated.streams, totals=(totals + aggregated.counts).tobytes())
    totals, rows = totals.copy(), aggregated.rows
    # Field by field takes a third of the time.
    for total, counts in zip(totals, aggregated.counts, strict=True):
        total[rows] += counts
    return replace(aggregated.streams, totals=totals.tobytes())


def _mark_exported(streams: StreamTable, rows: Rows, end_ns: int) -> StreamTable:
    """Return the streams after some series were exported; the next window of the others starts as before."""
    ends = ends_of(streams).copy()
    ends[rows] = end_ns
    return replace(streams, ends=ends.tobytes())
