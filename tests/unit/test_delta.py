# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sidecar.delta import advance, as_reported, from_now_on, generations, since_birth, total
from sidecar.model import MapIdentity, Snapshot

ONE = MapIdentity("boot-1", 41, 6, 4, 64, 1)
TWO = replace(ONE, map_id=42)
AFTER_REBOOT = replace(ONE, boot_id="boot-2")
KEY = bytes(4)


def snapshot(*counts, at=1000, identity=ONE, born=10, key=KEY):
    return Snapshot(identity, born, at, {key: counts})


def first_window(snapshots):
    return advance(since_birth(snapshots[0]), snapshots)


def test_the_first_window_holds_everything_since_the_load():
    """Without a baseline all counts are new, and the window starts when the program was loaded."""
    step = first_window([snapshot(7, 700, at=1000, born=10)])

    assert step.counts == {KEY: (7, 700)}
    assert (step.start_ns, step.baseline.end_ns, step.baseline.birth_ns) == (10, 1000, 10)


def test_the_next_window_holds_the_difference_and_starts_at_the_last_end():
    """Windows touch: start of each is the end of the one before."""
    first = first_window([snapshot(7, 700, at=1000)])
    second = advance(first.baseline, [snapshot(9, 1000, at=2000)])

    assert second.counts == {KEY: (2, 300)}
    assert (second.start_ns, second.baseline.end_ns, second.baseline.birth_ns) == (1000, 2000, 10)


def test_a_new_map_counts_from_zero():
    """What another map holds is all new, also if it is more than the last one had."""
    first = first_window([snapshot(7)])

    for identity in (TWO, AFTER_REBOOT):
        step = advance(first.baseline, [snapshot(9, at=2000, identity=identity, born=1500)])

        assert step.counts == {KEY: (9,)}
        assert step.start_ns == 1000
        assert step.baseline.finished == {KEY: (7,)}
        assert step.emptied == ()


def test_the_old_map_is_read_a_last_time_when_a_new_one_takes_its_place():
    """Counts of both generations go into one window."""
    first = first_window([snapshot(7)])
    step = advance(first.baseline, [snapshot(10, at=2000), snapshot(4, at=2001, identity=TWO)])

    assert step.counts == {KEY: (3 + 4,)}
    assert step.baseline.totals == {KEY: (4,)}
    assert step.baseline.finished == {KEY: (10,)}
    assert step.baseline.end_ns == 2001


def test_a_generation_before_the_baseline_is_not_counted_again():
    """A map that is still held although it was reported adds nothing."""
    first = first_window([snapshot(10, at=2000), snapshot(4, at=2001, identity=TWO)])
    step = advance(first.baseline, [snapshot(10, at=3000), snapshot(6, at=3001, identity=TWO)])

    assert step.counts == {KEY: (2,)}


def test_an_emptied_map_counts_from_zero():
    """A counter that went back means that the entry was emptied: all it has now is new, for every field."""
    first = first_window([snapshot(7, 700)])
    step = advance(first.baseline, [snapshot(3, 900, at=2000)])

    assert step.counts == {KEY: (3, 900)}
    assert step.emptied == (KEY,)
    assert step.baseline.finished == {KEY: (7, 700)}


def test_a_key_that_comes_back_counts_from_zero():
    """A deleted key is finished; when it returns, all it has is new."""
    here = first_window([Snapshot(ONE, 10, 1000, {b"a": (5,), b"b": (1,)})])
    gone = advance(here.baseline, [Snapshot(ONE, 10, 2000, {b"b": (2,)})])
    back = advance(gone.baseline, [Snapshot(ONE, 10, 3000, {b"a": (9,), b"b": (2,)})])

    assert gone.counts == {b"b": (1,)}
    assert gone.vanished == (b"a",)
    assert back.counts == {b"a": (9,), b"b": (0,)}
    assert back.baseline.finished == {b"a": (5,)}


def test_a_wall_clock_that_steps_back_still_moves_the_window_on():
    """The end of a window is always newer than its start, or the Collector would drop the point as known."""
    first = first_window([snapshot(7, at=1_000_000)])
    step = advance(first.baseline, [snapshot(9, at=400)])

    assert (step.start_ns, step.baseline.end_ns) == (1_000_000, 1_000_001)


def test_all_that_a_map_holds_can_be_taken_as_reported():
    """For the base point: everything so far is reported, in the first nanosecond; what follows is new."""
    step = advance(as_reported(snapshot(7, at=1000, born=10)), [snapshot(9, at=2000)])

    assert (step.start_ns, step.counts) == (11, {KEY: (2,)})
    assert total(step.baseline, KEY) == (9,)
    assert step.baseline.birth_ns == 10


def test_all_that_a_map_holds_can_be_left_out():
    """When it may have been reported before, only what comes from now on is."""
    step = advance(from_now_on(snapshot(7, at=1000)), [snapshot(9, at=2000)])

    assert (step.start_ns, step.counts) == (1000, {KEY: (2,)})


def test_maps_that_are_gone_are_reported_from_their_last_reading():
    """What was seen of a map that cannot be read any more comes before the maps that can."""
    gone, old, now = snapshot(5, identity=AFTER_REBOOT), snapshot(6), snapshot(9, at=2000)

    assert generations([gone, old], [now]) == (gone, now)


events = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2**40)),
        st.tuples(st.just("clock"), st.integers(-(10**9), 10**9)),
        st.tuples(st.just("reload"), st.integers(0, 1000)),
        st.tuples(st.just("report"), st.just(0)),
    ),
    max_size=60,
)


@given(events)
def test_nothing_is_lost_or_doubled_over_any_history(history):
    """Whatever happens to map and clock, all windows together hold exactly what was counted."""
    truth = reported = in_map = 0
    now, generation, held, baseline, end = 10**10, 41, [], None, None
    for event, value in [*history, ("report", 0)]:
        if event == "count":
            truth += value
            in_map += value
        elif event == "clock":
            now = max(1, now + value)
        elif event == "reload":
            held.append((generation, in_map))
            generation, in_map = generation + 1, value
            truth += value
        else:
            maps = [*held, (generation, in_map)]
            snapshots = [
                Snapshot(replace(ONE, map_id=number), 5, now, {KEY: (count,)}) for number, count in maps
            ]
            step = advance(baseline or since_birth(snapshots[0]), snapshots)
            reported += step.counts[KEY][0]
            if end is not None:
                assert step.start_ns == end
            assert step.baseline.end_ns > step.start_ns
            baseline, end, held = step.baseline, step.baseline.end_ns, []

            assert (reported, total(baseline, KEY)) == (truth, (truth,))
