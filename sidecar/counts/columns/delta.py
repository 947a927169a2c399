# SPDX-License-Identifier: Apache-2.0
"""
Take a source with a large map a window further: what `delta.step` says, column by column (pure).

`delta` has the rules and the reasons. Whatever is rare (another layout, a map with other keys) is left to it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sidecar.counts import idle
from sidecar.counts.aggregate import Step
from sidecar.counts.columns.aggregate import Posting, next_roster, post, rostered
from sidecar.counts.columns.growth import U64Array, cells_of, grown, values
from sidecar.counts.columns.match import Places
from sidecar.counts.columns.series import SeriesTable
from sidecar.counts.columns.table import Ledger, Table, key_size
from sidecar.counts.resets import Resets
from sidecar.model import Baseline, Reading, Snapshot
from sidecar.schema import Schema


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
        and all(key_size(one.cells) == key_size(newest.reading.cells) for one in readings)
        and all(one.identity.key_size == newest.identity.key_size for one in snapshots)
        and (len(snapshots) == 1 or not schema.has_gauge)
        and (baseline.fields == tuple(one.field for one in columns))
    )


def step(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, end_ns: int, *, everything: bool
) -> Step:
    """Return what the window up to *end_ns* brought."""
    columns = snapshots[-1].reading.columns
    ledger = Ledger.of(baseline.accounts, len(columns))
    tables = [_table(one.reading, snapshots[-1]) for one in snapshots]
    resets, parts, rosters = Resets(), [], []
    for snapshot, table in zip(snapshots, tables, strict=True):
        before = baseline.maps.get(snapshot.identity)
        was = _table(before, snapshots[-1]) if before else None
        parts.append(grown(table, was, columns, resets))
        rosters.append(rostered(ledger, table, schema))
    posted = post(
        ledger,
        np.concatenate([np.frombuffer(one.places, np.int64) for one in rosters]),
        [name for one in rosters for name in one.waiting],
        np.concatenate([one.counts for one in parts], axis=1),
        schema,
    )
    held = values(cells_of(tables[-1], columns), columns) if schema.has_gauge else None
    counted = _counted(posted)
    elapsed_ns = snapshots[-1].after_ns(baseline.end_ns, baseline.boottime_ns)
    series = said = _series(posted, counted, baseline, end_ns, held, elapsed_ns)
    if not everything and idle.may_be(schema, len(series)):
        said = series.only(_to_say(series))
    roster = next_roster(rosters[-1], posted.places[len(posted.places) - len(tables[-1]) :], posted.last)
    return Step(
        series,
        said,
        replace(_said(counted, said.places, end_ns), roster=roster),
        tuple(resets.emptied),
        tuple(key for one in parts for key in one.vanished),
        posted.overflowed,
        posted.forgotten,
        resets.fallen,
        resets.falls,
        _gone(posted, baseline.end_ns) if schema.has_any_gauge else (),
    )


def _table(reading: Reading, like: Snapshot) -> Table:
    size = like.reading.cells.size if isinstance(like.reading.cells, Table) else 0
    return Table.of(reading.cells, size)


def _series(
    posted: Posting, ledger: Ledger, baseline: Baseline, end_ns: int, held: U64Array | None, elapsed_ns: int
) -> SeriesTable:
    """Return the series of a window; *ledger* has what they come to."""
    ends, totals = np.frombuffer(posted.ledger.ends, np.uint64), _totals(ledger)
    if not posted.whole:
        ends, totals = ends[posted.order], totals[:, posted.order]
    is_new = ends == 0
    return SeriesTable(
        ledger.series,
        posted.order,
        baseline.birth_ns,
        end_ns,
        is_new,
        np.where(is_new, np.uint64(baseline.end_ns), ends),
        posted.counts,
        totals,
        None if held is None else posted.summed(held),
        elapsed_ns,
    )


def _gone(posted: Posting, end_ns: int) -> tuple[bytes, ...]:
    """Return the names of the series that were said in the last window, up to *end_ns*, without a key now."""
    last = np.frombuffer(posted.ledger.ends, np.uint64) == end_ns
    last[posted.order] = False
    return tuple(posted.ledger.series[at] for at in np.flatnonzero(last).tolist())


def _to_say(series: SeriesTable) -> Places:
    """Return which of the series are said, as `quiet.to_say` does."""
    number = np.arange(len(series), dtype=np.uint64)
    chosen = series.counts.any(axis=0) | series.is_new
    chosen |= idle.is_due(number, series.start_ns, np.uint64(series.end_ns))
    return np.flatnonzero(chosen)


def _counted(posted: Posting) -> Ledger:
    """Return the accounts with what the window brought."""
    totals = _totals(posted.ledger)
    if posted.whole:
        return replace(posted.ledger, totals=(totals + posted.counts).tobytes())
    totals = totals.copy()
    for account, counted in zip(totals, posted.counts, strict=True):
        account[posted.order] += counted
    return replace(posted.ledger, totals=totals.tobytes())


def _totals(ledger: Ledger) -> U64Array:
    return np.frombuffer(ledger.totals, np.uint64).reshape(ledger.width, len(ledger))


def _said(ledger: Ledger, places: Places, end_ns: int) -> Ledger:
    """Return the accounts after some series were said; the others' next window starts where it did."""
    ends = np.frombuffer(ledger.ends, np.uint64).copy()
    ends[places] = end_ns
    return replace(ledger, ends=ends.tobytes())
