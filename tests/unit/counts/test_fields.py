# SPDX-License-Identifier: Apache-2.0
"""A map whose successor lost fields: its last counts are reported in full."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sidecar.counts.columns import Table
from sidecar.counts.delta import advance, baseline_from_zero
from sidecar.counts.fields import with_lost_fields
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot
from sidecar.schema import Instrument, Schema

COUNTS = st.integers(0, 2**31)
KEYS = st.binary(min_size=4, max_size=4)


def schema(*names, bits=64, kinds=None):
    fields = tuple(Field(name, 64 * at, bits) for at, name in enumerate(names))
    instruments = tuple(
        Instrument(f"m.{name}", "1", "", name, (kinds or {}).get(name, Kind.COUNTER)) for name in names
    )
    return Schema("test", Layout(8 * len(names), fields), instruments, lambda key: (("key", key.hex()),))


def snapshot(of, cells, map_id, at, slots=1):
    identity = MapIdentity("boot", map_id, 5, 4, of.layout.value_size, 9)
    return Snapshot(identity, 10, at, Reading(of.columns(slots), cells))


def in_columns(taken):
    return replace(taken, reading=Reading(taken.reading.columns, Table.of(taken.reading.cells, key_size=4)))


def sent(window, of):
    """The sum of what a window exports, by metric."""
    return {
        instrument.name: sum(series.counts[at] for series in window.to_export)
        for at, instrument in of.positions
    }


@given(
    st.dictionaries(KEYS, st.tuples(COUNTS, COUNTS), min_size=1, max_size=4),
    st.dictionaries(KEYS, st.tuples(COUNTS), max_size=4),
    st.booleans(),
)
def test_the_last_counts_of_a_field_that_the_successor_lost_are_sent(old_cells, new_cells, columnar):
    """Together with what the new map has counted in the fields that it has; entry by entry and in columns."""
    whole, partial = schema("packets", "bytes"), schema("packets")
    old, new = snapshot(whole, old_cells, 1, 1000), snapshot(partial, new_cells, 2, 1000)
    if columnar:
        old, new = in_columns(old), in_columns(new)
    union = partial.with_lost_sums(whole)
    new = replace(new, reading=with_lost_fields(new.reading, [old.reading]))
    window = advance(baseline_from_zero(old), [old, new], union)

    assert sent(window, union) == {
        "m.packets": sum(cells[0] for cells in old_cells.values()) + sum(c[0] for c in new_cells.values()),
        "m.bytes": sum(cells[1] for cells in old_cells.values()),
    }
    after = snapshot(partial, {key: (count + 1,) for key, (count,) in new_cells.items()}, 2, 2000)
    later = advance(window.baseline, [in_columns(after) if columnar else after], partial)
    assert sent(later, partial) == {"m.packets": len(new_cells)}


@given(st.dictionaries(KEYS, st.tuples(COUNTS), max_size=4), st.integers(1, 3))
def test_fields_are_added_alike_to_entries_and_columns(cells, slots):
    """Also narrow ones, which have a cell for each CPU."""
    partial, whole = schema("packets"), schema("packets", "drops", bits=32)
    lost = [Reading(whole.columns(slots), {})]
    plain = snapshot(partial, cells, 2, 1000)
    by_entry = with_lost_fields(plain.reading, lost)
    in_table = with_lost_fields(in_columns(plain).reading, lost)

    assert by_entry.columns == in_table.columns
    assert dict(by_entry.cells) == dict(in_table.cells)
    assert [column.cells for column in by_entry.columns] == [1, slots]


def test_a_gauge_that_the_successor_lost_is_not_sent():
    """Its value is unknown, and not 0."""
    whole = schema("packets", "depth", kinds={"depth": Kind.GAUGE})
    union = schema("packets").with_lost_sums(whole)

    assert [instrument.name for instrument in union.instruments] == ["m.packets"]
    assert [each.name for each in union.layout.fields] == ["packets", "depth"]


def test_a_map_that_lost_no_field_keeps_its_schema_and_reading():
    """So nothing is copied in the usual case."""
    whole = schema("packets", "bytes")
    reading = snapshot(whole, {bytes(4): (1, 2)}, 2, 1000).reading

    assert whole.with_lost_sums(schema("packets")) is whole
    assert with_lost_fields(reading, [reading]) is reading
