# SPDX-License-Identifier: Apache-2.0
"""
Take a source with a large map a window further: what `delta.step` says, column by column (pure).

`delta` has the rules and the reasons. Whatever is rare (another layout, a map with other keys) is left to it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sidecar import quiet
from sidecar.accounts import Step
from sidecar.columnar import Ledger, Table
from sidecar.columnar_accounts import Posting, next_roster, post, rostered
from sidecar.columnar_growth import Mask, U64Array, grown, rows, values
from sidecar.columnar_series import SeriesTable
from sidecar.model import Baseline, Reading, Snapshot
from sidecar.schema import Kind, Schema


def fits(baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema) -> bool:
    """Return whether this module can do it: everything is in the same columns."""
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
        and all(one.identity.key_size == newest.identity.key_size for one in snapshots)
        and (len(snapshots) == 1 or not _has_gauge(schema))
        and (baseline.fields == tuple(one.field for one in columns))
    )


def step(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, end_ns: int, *, everything: bool
) -> Step:
    """Return what the window up to *end_ns* brought."""
    columns = snapshots[-1].reading.columns
    ledger = Ledger.of(baseline.accounts, len(columns))
    tables = [_table(one.reading, snapshots[-1]) for one in snapshots]
    parts, rosters = [], []
    for snapshot, table in zip(snapshots, tables, strict=True):
        before = baseline.maps.get(snapshot.identity)
        was = _table(before, snapshots[-1]) if before else None
        parts.append(grown(table, was, columns))
        rosters.append(rostered(ledger, table, schema))
    posted = post(
        ledger,
        np.concatenate([np.frombuffer(one.places, np.int64) for one in rosters]),
        [name for one in rosters for name in one.waiting],
        np.concatenate([one.rows for one in parts]),
        baseline.end_ns,
        schema,
    )
    held = values(rows(tables[-1], columns), columns) if _has_gauge(schema) else None
    series = _series(posted, baseline.birth_ns, end_ns, held)
    chosen = _to_say(series) if not everything and quiet.may_be(schema, len(series)) else None
    accounts = _accounts(posted, series, chosen)
    return Step(
        series,
        series if chosen is None else series.only(chosen),
        replace(accounts, roster=next_roster(rosters[-1], posted.places[-len(tables[-1]) :], posted.last)),
        tuple(key for one in parts for key in one.emptied),
        tuple(key for one in parts for key in one.vanished),
        posted.overflowed,
        posted.forgotten,
    )


def _table(reading: Reading, like: Snapshot) -> Table:
    size = like.reading.cells.size if isinstance(like.reading.cells, Table) else 0
    return Table.of(reading.cells, size)


def _has_gauge(schema: Schema) -> bool:
    return any(one.kind is Kind.GAUGE for one in schema.instruments)


def _series(posted: Posting, birth_ns: int, end_ns: int, held: U64Array | None) -> SeriesTable:
    ledger, order = posted.ledger, posted.order
    totals = np.frombuffer(ledger.totals, np.uint64).reshape(len(ledger), ledger.width)
    return SeriesTable(
        ledger.series,
        order,
        birth_ns,
        end_ns,
        np.frombuffer(ledger.settled, np.uint64)[order],
        np.frombuffer(ledger.ends, np.uint64)[order],
        posted.counts,
        totals[order] + posted.counts,
        None if held is None else posted.summed(held),
    )


def _to_say(series: SeriesTable) -> Mask:
    number = np.arange(len(series), dtype=np.uint64)
    chosen: Mask = series.counts.any(axis=1) | (series.settled_ns == 0)
    chosen |= quiet.is_due(number, series.start_ns, np.uint64(series.end_ns))
    return chosen


def _accounts(posted: Posting, series: SeriesTable, chosen: Mask | None) -> Ledger:
    """Return the accounts after the window; those of series that are not said stay as they were."""
    ledger = posted.ledger
    totals = np.frombuffer(ledger.totals, np.uint64).reshape(len(ledger), ledger.width).copy()
    totals[series.places] = series.totals
    said = series.places if chosen is None else series.places[chosen]
    ends, settled = (np.frombuffer(one, np.uint64).copy() for one in (ledger.ends, ledger.settled))
    ends[said] = settled[said] = series.end_ns
    return replace(ledger, totals=totals.tobytes(), ends=ends.tobytes(), settled=settled.tobytes())
