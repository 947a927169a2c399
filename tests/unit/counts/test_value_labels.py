# SPDX-License-Identifier: Apache-2.0
"""Attributes that come from the value: what a key counts goes to the label of the moment, exactly."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.counts import reading
from sidecar.counts.columns import SeriesTable
from sidecar.counts.delta import advance, baseline_from_zero
from sidecar.counts.reading import build_reading
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, MapIdentity, Snapshot
from sidecar.schema import Instrument, Schema, ValueLabel, View
from sidecar.state.record import Record
from tests.journals import reread

MAP = MapIdentity("boot-1", 41, 5, 1, 16, 10)
PACKETS = Instrument("packets", "1", "", "packets")
LEVEL = Instrument("level", "1", "", "packets", Kind.GAUGE)
OF_VALUE = Schema(
    "test",
    Layout(16, (Field("packets", 0),)),
    (PACKETS,),
    lambda key: (("key", key.hex()),),
    value_label=ValueLabel(
        lambda raw: (("name", raw[8:16].rstrip(b"\0").decode()),), 16, tuple(range(8, 16))
    ),
)


def read(values, at, of=OF_VALUE, *, slots=1):
    """Return a snapshot, given for each key the packets and the name on each CPU."""
    keys = bytes(values)
    raw = b"".join(
        packets.to_bytes(8, "little") + name.encode().ljust(8, b"\0")
        for each in values.values()
        for packets, name in each
    )
    return Snapshot(MAP, 10, at, build_reading(iter([(keys, raw)]), 1, range(slots), of))


def counts(window):
    return {each.attributes: each.counts[0] for each in window.series}


names = st.sampled_from(["", "a", "b"])
steps = st.lists(
    st.dictionaries(
        st.integers(0, 2), st.tuples(st.integers(0, 9), st.sampled_from(["", "a", "b"])), min_size=1
    ),
    min_size=1,
    max_size=6,
)


@given(steps, st.booleans(), st.booleans())
def test_each_count_is_in_the_series_of_the_label_of_its_reading(history, in_view, without_key):
    """Labels change and come back, keys share them, processes restart: the totals are exact."""
    label = (lambda _: ()) if without_key else OF_VALUE.label
    of = replace(OF_VALUE, label=label, views=(View("", label),) if in_view else ())
    baseline, held, expected = None, {}, {}
    for at, grown in enumerate(history, 1):
        window = {}
        for key in range(3):
            packets, name = grown.get(key, (0, held.get(key, [(0, "")])[0][1]))
            held[key] = [(held.get(key, [(0, "")])[0][0] + packets, name)]
            series = (*label(bytes([key])), ("name", name))
            window[series] = window.get(series, 0) + packets
        for series, packets in window.items():
            expected[series] = expected.get(series, 0) + packets
        snapshot = read(held, 1000 * at, of)
        got = advance(baseline or baseline_from_zero(snapshot), [snapshot], of)

        assert counts(got) == window
        baseline = reread(Record(1, {"a": got.baseline})).acknowledged["a"]
        assert {series: state.totals[0] for series, state in baseline.streams.items()} == expected


def test_of_several_cpus_the_first_that_has_a_label_gives_it():
    """A CPU that never wrote its copy has none."""
    snapshot = read({1: [(0, ""), (4, "b"), (5, "c")], 2: [(0, ""), (0, ""), (0, "")]}, 1000, slots=3)

    assert counts(advance(baseline_from_zero(snapshot), [snapshot], OF_VALUE)) == {
        (("key", "01"), ("name", "b")): 9,
        (("key", "02"), ("name", "")): 0,
    }


def test_the_cpu_stays_the_last_attribute():
    """With its own label."""
    of = replace(OF_VALUE, cpu="cpu")
    snapshot = read({1: [(3, "a"), (4, "b")]}, 1000, of, slots=2)

    assert counts(advance(baseline_from_zero(snapshot), [snapshot], of)) == {
        (("key", "01"), ("name", "a"), ("cpu", 0)): 3,
        (("key", "01"), ("name", "b"), ("cpu", 1)): 4,
    }


@pytest.mark.parametrize("in_view", [False, True])
def test_a_gauge_whose_label_changed_is_gone_under_the_old_one(in_view):
    """And it has its value under the new one."""
    of = replace(OF_VALUE, instruments=(LEVEL,), views=(View("", OF_VALUE.label),) if in_view else ())
    first = read({1: [(5, "a")]}, 1000, of)
    baseline = advance(baseline_from_zero(first), [first], of).baseline
    window = advance(baseline, [read({1: [(6, "b")]}, 2000, of)], of)

    assert [(each.attributes, each.values) for each in window.series] == [
        ((("key", "01"), ("name", "b")), (6,))
    ]
    assert len(window.gone) == 1


large = st.lists(
    st.dictionaries(
        st.integers(0, 5),
        st.lists(st.tuples(st.integers(0, 9), names), min_size=2, max_size=2),
    ),
    min_size=1,
    max_size=4,
)


@given(large, st.booleans(), st.sampled_from([None, "cpu"]), st.booleans())
def test_a_large_map_is_labelled_as_a_small_one(history, without_key, cpu, only_used):
    """In columns, from the bytes that the kernel returned."""
    label = (lambda _: ()) if without_key else OF_VALUE.label
    of = replace(OF_VALUE, label=label, cpu=cpu, only_used=only_used)
    baselines = [None, None]
    for at, values in enumerate(history, 1):
        windows = []
        for size, before in zip((512, -1), baselines, strict=True):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(reading, "COLUMNAR_FROM", size)
                snapshot = read(values, 1000 * at, of, slots=2)
                windows.append(advance(before or baseline_from_zero(snapshot), [snapshot], of))
        plain, fast = windows

        assert isinstance(fast.series, SeriesTable)
        assert list(fast.series) == list(plain.series)
        assert dict(fast.snapshots[-1].reading.labels) == plain.snapshots[-1].reading.labels
        baselines = [window.baseline for window in windows]
