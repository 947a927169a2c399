# SPDX-License-Identifier: Apache-2.0
"""Gauges that are not summed, over CPUs and over keys, in plain code and in columns."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sidecar.counts import cells
from sidecar.counts.columns import SeriesTable, Table
from sidecar.counts.columns import cells as column_cells
from sidecar.counts.delta import advance, baseline_from_zero
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot
from sidecar.schema import Instrument, Schema, View
from sidecar.u64 import U64, signed

CPUS = 3
MAP = MapIdentity("boot-1", 41, 5, 4, 24, 100)
BITS = {"wide": 64, "narrow": 32}


def layout(sign):
    """Two fields and the time, each under every aggregate."""
    of = [("wide", 0, 64), ("narrow", 64, 32)]
    made = [Field("max(time)", 96, 32, signed=False, aggregate="max")]
    for name, offset, bits in of:
        made.append(Field(name, offset, bits, signed=sign))
        for aggregate in ("max", "min", "last"):
            order = "max(time)" if aggregate == "last" else ""
            made.append(
                Field(f"{aggregate}({name})", offset, bits, signed=sign, aggregate=aggregate, order=order)
            )
    return Layout(16, tuple(made))


def expected(rows, name, bits, aggregate, *, sign):
    """Combine (value, time) pairs of all CPUs that were used, of all keys, as the documentation says."""
    held = []
    for slots in rows:
        pairs = [(signed(slot[name], bits) if sign else slot[name], slot["time"]) for slot in slots]
        used = [pair for pair, slot in zip(pairs, slots, strict=True) if any(slot.values())]
        if aggregate == "sum":
            held.append((sum(value for value, _ in pairs), 0))
        else:
            held.append(choose(used, aggregate) if used else (0, 0))
    return (sum(value for value, _ in held) if aggregate == "sum" else choose(held, aggregate)[0]) & U64


def choose(pairs, aggregate):
    if aggregate == "last":
        return max(enumerate(pairs), key=lambda each: (each[1][1], each[0]))[1]
    value = (max if aggregate == "max" else min)(value for value, _ in pairs)
    return value, max(time for _, time in pairs)


def raw_of(slots):
    return b"".join(
        slot["wide"].to_bytes(8, "little")
        + slot["narrow"].to_bytes(4, "little")
        + slot["time"].to_bytes(4, "little")
        for slot in slots
    )


edges = st.sampled_from([0, 0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1])
slot = st.fixed_dictionaries(
    {"wide": edges | st.sampled_from([2**63, 2**64 - 1]), "narrow": edges, "time": st.integers(0, 3)}
)
keys = st.lists(st.lists(slot, min_size=CPUS, max_size=CPUS), min_size=1, max_size=6)


def values_of(read, of, *, columnar):
    """Return the values of each series, and whether they were computed in columns."""
    reading = Reading(of.columns(CPUS), read)
    if columnar:
        reading = replace(reading, cells=Table.of(read, 4))
    snapshot = Snapshot(MAP, 10, 1000, reading)
    window = advance(baseline_from_zero(snapshot), [snapshot], of)
    return {dict(each.attributes)["series"]: each.values for each in window.series}, window.series


@given(keys, st.booleans(), st.integers(1, 6), st.integers(0, 2))
def test_each_aggregate_is_that_of_the_definition(rows, sign, series, views):
    """By CPU, then by key, signed or not; the code for large maps agrees, and views change nothing."""
    of = layout(sign)
    read = {at.to_bytes(4, "little"): cells.cells(raw_of(slots), of, CPUS) for at, slots in enumerate(rows)}
    found = column_cells.cells(b"".join(map(raw_of, rows)), len(rows), of, CPUS)
    assert [tuple(each) for each in found.T.tolist()] == list(read.values())

    gauges = tuple(Instrument(field.name, "1", "", field.name, Kind.GAUGE) for field in of.fields)
    schema = Schema("test", of, gauges, lambda key: (("series", key[0] % series),))
    if views:
        schema = replace(schema, views=(View("", schema.label),))
    if views > 1:
        some = View("@some", schema.label, selects=lambda key: key[0] % 3 != 1)
        of_some = (replace(gauge, name=f"{gauge.name} of some", view="@some") for gauge in gauges)
        schema = replace(schema, views=(*schema.views, some), instruments=(*gauges, *of_some))
    plain, _ = values_of(read, schema, columnar=False)
    fast, columns = values_of(read, schema, columnar=True)

    assert isinstance(columns, SeriesTable)
    assert fast == plain
    for number, values in plain.items():
        mine = rows[number::series]
        for name, bits in BITS.items():
            for aggregate in ("sum", "max", "min", "last"):
                at = schema.index[name if aggregate == "sum" else f"{aggregate}({name})"]
                assert values[at] == expected(mine, name, bits, aggregate, sign=sign), (name, aggregate)
