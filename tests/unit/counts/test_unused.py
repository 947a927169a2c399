# SPDX-License-Identifier: Apache-2.0
"""Rows of an array that were never used are no series; once used, they remain one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.counts.columns import Table
from sidecar.counts.delta import advance, baseline_from_zero
from sidecar.counts.reading import build_reading
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, MapIdentity, Snapshot
from sidecar.schema import Instrument, Schema
from sidecar.state.record import Record
from tests.journals import reread

ROWS = 6
MAP = MapIdentity("boot-1", 41, 2, 4, 8, ROWS)
FIELDS = (Field("packets", 0, 32), Field("level", 32, 32))


def schema(*names, kind=Kind.COUNTER, **more):
    """Return a schema that reads the fields called *names*."""
    of = tuple(field for field in FIELDS if field.name in names)
    instruments = tuple(Instrument(name, "1", "", name, kind) for name in names)
    return Schema("test", Layout(8, of), instruments, lambda key: (("key", key[0]),), **more)


def read(values, of, *, at=1000, columnar=False):
    """Return a snapshot of an array, given packets and level of each row."""
    keys = b"".join(row.to_bytes(4, "little") for row in range(ROWS))
    raw = b"".join(number.to_bytes(4, "little") for pair in values for number in pair)
    reading = build_reading(iter([(keys, raw)]), 4, (0,), of)
    if columnar:
        reading = replace(reading, cells=Table.of(reading.cells, 4))
    return Snapshot(MAP, 10, at, reading)


def shown(window):
    return {dict(series.attributes)["key"]: (series.counts, series.totals) for series in window.series}


def through_journal(baseline):
    """Return the baseline as another process reads it."""
    return reread(Record(1, {"a": baseline})).acknowledged["a"]


def used(*rows, packets=0, level=0):
    return [(packets, level) if row in rows else (0, 0) for row in range(ROWS)]


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=ROWS, max_size=ROWS)


@given(st.lists(rows, min_size=1, max_size=5), st.booleans(), st.sampled_from([Kind.COUNTER, Kind.GAUGE]))
def test_they_are_the_series_of_all_rows_without_those_never_used(readings, columnar, kind):
    """Each with the same counts and totals, through restarts."""
    every, some = schema("packets", "level", kind=kind), schema("packets", "level", kind=kind, only_used=True)
    all_rows = only_used = None
    seen = set()
    for at, values in enumerate(readings, 1):
        snapshots = [read(values, of, at=1000 * at, columnar=columnar) for of in (every, some)]
        expected = advance(all_rows or baseline_from_zero(snapshots[0]), snapshots[:1], every)
        got = advance(only_used or baseline_from_zero(snapshots[1]), snapshots[1:], some)
        all_rows, only_used = expected.baseline, through_journal(got.baseline)
        seen |= {row for row, pair in enumerate(values) if any(pair)}

        assert shown(got) == {row: each for row, each in shown(expected).items() if row in seen}
        assert (got.vanished, got.gone) == ((), ())
        assert set(got.emptied) == set(expected.emptied)


@pytest.mark.parametrize("columnar", [False, True])
def test_a_field_read_anew_counts_from_its_present_value_in_rows_that_were_unused(columnar):
    """It may have been reported before, under another configuration."""
    before = read(used(1, packets=5, level=7), schema("packets", only_used=True), columnar=columnar)
    baseline = advance(baseline_from_zero(before), [before], schema("packets", only_used=True)).baseline
    both = schema("packets", "level", only_used=True)
    values = used(1, packets=6, level=9)
    values[3] = (4, 100)
    now = read(values, both, at=2000, columnar=columnar)

    assert shown(advance(baseline, [now], both)) == {1: ((1, 0), (6, 0)), 3: ((4, 0), (4, 0))}


def test_a_row_of_an_array_that_is_told_apart_by_cpu_is_used_on_one_cpu():
    """The others have no series."""
    of = schema("packets", only_used=True, cpu="cpu")
    raw = (b"\1" + bytes(7)) + bytes(8) + bytes(16)
    for copies in (1, 300):
        keys = b"".join(row.to_bytes(4, "little") for row in range(2 * copies))
        reading = build_reading(iter([(keys, raw * copies)]), 4, (0, 1), of)

        assert isinstance(reading.cells, Table) == (copies > 1)
        assert next(iter(reading.cells)) == bytes(8)
        assert len(reading.cells) == copies


@pytest.mark.parametrize("used_rows", [(), (0,), (0, 512), (1, 2, 3, 1023)])
def test_of_a_large_array_the_rows_that_are_used_are_read_with_all_their_fields(used_rows):
    """As a small array's, read entry by entry."""
    of = schema("packets", "level", only_used=True)
    keys = b"".join(row.to_bytes(4, "little") for row in range(1024))
    raw = b"".join(
        (row + 1).to_bytes(4, "little") + (7).to_bytes(4, "little") if row in used_rows else bytes(8)
        for row in range(1024)
    )
    reading = build_reading(iter([(keys, raw)]), 4, (0,), of)

    assert isinstance(reading.cells, Table)
    assert dict(reading.cells) == {row.to_bytes(4, "little"): (row + 1, 7) for row in used_rows}
