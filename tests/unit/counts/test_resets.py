# SPDX-License-Identifier: Apache-2.0
"""The rule for counters that go back: the same for one entry and for arrays of entries."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidecar.counts.cells import growth
from sidecar.counts.columns import Table
from sidecar.counts.columns.growth import growth_since
from sidecar.counts.resets import Counters, Resets
from sidecar.model import Column


@st.composite
def entries(draw):
    """Draw columns, and entries before and after: at random, a little up or down, or all zero."""
    columns = tuple(
        Column(
            f"f{at}", bits, monotonic=draw(st.booleans()), cells=1 if bits == 64 else draw(st.integers(1, 2))
        )
        for at, bits in enumerate(draw(st.lists(st.sampled_from([1, 8, 16, 32, 64]), min_size=1, max_size=3)))
    )
    masks = [2**column.bits - 1 for column in columns for _ in range(column.cells)]
    rows = st.tuples(*[st.integers(0, mask) | st.integers(0, min(mask, 9)) for mask in masks])
    steps = st.tuples(*[st.integers(-3, 3)] * len(masks))
    found = []
    for was in draw(st.lists(rows, max_size=5)):
        moved = steps.map(lambda step, was=was: tuple(map(sum, zip(was, step, strict=True))))
        now = draw(moved | rows | st.just((0,) * len(masks)))
        found.append((was, tuple(cell & mask for cell, mask in zip(now, masks, strict=True))))
    return columns, found


@given(entries())
def test_arrays_of_entries_are_judged_as_single_entries_are(drawn):
    """Growth, emptied entries, fields that fell."""
    columns, pairs = drawn
    counters, each, all_at_once = Counters(columns), Resets(), Resets()
    keys = [bytes([at]) for at in range(len(pairs))]
    before, now = (
        dict(zip(keys, rows, strict=True)) for rows in (list(zip(*pairs, strict=True)) or [(), ()])
    )

    expected = [
        growth(now[key], each.start_of(key, now[key], before[key], counters), columns) for key in keys
    ]
    got = growth_since(Table.of(now, 1), Table.of(before, 1), columns, all_at_once)

    assert got.counts.T.tolist() == [list(row) for row in expected]
    assert (all_at_once.emptied, all_at_once.fallen) == (each.emptied, each.fallen)
    assert {fall.field for fall in all_at_once.falls} == {fall.field for fall in each.falls}


@given(entries())
def test_no_counter_that_went_back_escapes_the_filter(drawn):
    """An entry that the filter skips counts from its last cells, with no reset."""
    columns, pairs = drawn
    counters = Counters(columns)
    for was, now in pairs:
        found = Resets()
        if not counters.may_have_fallen(now, was):
            assert found.start_of(b"", now, was, counters) == was
            assert (found.emptied, found.fallen) == ([], 0)


def test_a_wrapped_counter_grew_and_one_that_went_half_its_range_fell():
    """Serial number arithmetic, RFC 1982."""
    counters = Counters([Column("octets", 32)])
    for step, falls in [(0, False), (1, False), (2**31 - 1, False), (2**31, True), (2**32 - 1, True)]:
        was = 2**32 - 5
        now = (was + step) % 2**32
        assert counters.has_fallen(0, (now,), (was,)) is falls
        assert counters.has_fallen(
            0, np.array([[now]], np.uint64), np.array([[was]], np.uint64)
        ).tolist() == [falls]
