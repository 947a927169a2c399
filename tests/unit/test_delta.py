# SPDX-License-Identifier: Apache-2.0
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.accounts import OVERFLOW
from sidecar.delta import advance, as_reported, from_now_on, generations, since_birth
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot
from sidecar.percpu import U64, signed
from sidecar.schema import Instrument, Kind, Schema

ONE = MapIdentity("boot-1", 41, 6, 4, 64, 1)
TWO = ONE._replace(map_id=42)
AFTER_REBOOT = ONE._replace(boot_id="boot-2")
KEY = bytes(4)


def schema(*fields, label=lambda _key: (), kind=Kind.COUNTER, **more):
    """Make a schema of one instrument a field; a field is a name, or a Field."""
    fields = [Field(one, 64 * at) if isinstance(one, str) else one for at, one in enumerate(fields)]
    instruments = tuple(Instrument(one.name, "1", "", one.name, kind) for one in fields)
    return Schema("test", Layout(8 * len(fields), tuple(fields)), instruments, label, **more)


BOTH = schema("packets", "bytes")
PACKETS = schema("packets")


def snapshot(*cells, at=1000, identity=ONE, born=10, key=KEY, of=None, slots=1):
    return entries({key: cells}, at=at, identity=identity, born=born, of=of, slots=slots)


def entries(cells, *, at=1000, identity=ONE, born=10, of=None, slots=1):
    width = max((len(one) for one in cells.values()), default=1)
    of = of or (BOTH if width == 2 else PACKETS)
    return Snapshot(identity, born, at, Reading(of.columns(slots), cells))


def step_of(baseline, *snapshots, of=None):
    of = of or (BOTH if len(snapshots[-1].reading.columns) == 2 else PACKETS)
    return advance(baseline, snapshots, of)


def first(*snapshots, of=None):
    return step_of(since_birth(snapshots[0]), *snapshots, of=of)


def counts(step):
    """What each series counted in the window."""
    return {one.attributes: one.counts for one in step.series}


def totals(step):
    """What each series counted since birth, by its account."""
    return {one: account.totals for one, account in step.baseline.accounts.items()}


def by_key(key):
    return (("key", key.hex()),)


def of_key(key):
    return by_key(key if isinstance(key, bytes) else key.encode())


def test_the_first_window_holds_everything_since_the_load():
    """Without a baseline all counts are new, and the window starts when the program was loaded."""
    step = first(snapshot(7, 700, at=1000, born=10))

    (one,) = step.series
    assert (one.counts, one.totals) == ((7, 700), (7, 700))
    assert (one.birth_ns, one.start_ns, one.end_ns, one.settled_ns) == (10, 10, 1000, 0)


def test_the_next_window_holds_the_difference_and_starts_at_the_last_end():
    """Windows touch: start of each is the end of the one before."""
    step = step_of(first(snapshot(7, 700, at=1000)).baseline, snapshot(9, 1000, at=2000))

    (one,) = step.series
    assert (one.counts, one.totals) == ((2, 300), (9, 1000))
    assert (one.birth_ns, one.start_ns, one.end_ns, one.settled_ns) == (10, 1000, 2000, 1000)


def test_a_new_map_counts_from_zero():
    """What another map holds is all new, also if it is more than the last one had."""
    before = first(snapshot(7)).baseline

    for identity in (TWO, AFTER_REBOOT):
        step = step_of(before, snapshot(9, at=2000, identity=identity, born=1500))

        assert counts(step) == {(): (9,)}
        assert totals(step) == {(): (16,)}
        assert step.series[0].start_ns == 1000
        assert step.emptied == ()


def test_the_old_map_is_read_a_last_time_when_a_new_one_takes_its_place():
    """Counts of both generations go into one window."""
    before = first(snapshot(7)).baseline
    step = step_of(before, snapshot(10, at=2000), snapshot(4, at=2001, identity=TWO))

    assert counts(step) == {(): (3 + 4,)}
    assert totals(step) == {(): (14,)}
    assert step.baseline.identity == TWO
    assert step.baseline.end_ns == 2001


def test_what_an_old_map_still_counts_is_counted_once():
    """A map that is still held although it was reported adds only what came since."""
    before = first(snapshot(10, at=2000), snapshot(4, at=2001, identity=TWO)).baseline

    assert counts(step_of(before, snapshot(10, at=3000), snapshot(6, at=3001, identity=TWO))) == {(): (2,)}
    assert counts(step_of(before, snapshot(11, at=3000), snapshot(6, at=3001, identity=TWO))) == {(): (3,)}


def test_a_map_that_is_put_back_goes_on_where_it_was():
    """A rollback brings the map before back: what it had counted then is not counted again."""
    one = first(snapshot(7)).baseline
    two = step_of(one, snapshot(7, at=2000), snapshot(4, at=2001, identity=TWO)).baseline
    back = step_of(two, snapshot(4, at=3000, identity=TWO), snapshot(9, at=3001))

    assert counts(back) == {(): (2,)}
    assert back.baseline.identity == ONE


def test_an_emptied_map_counts_from_zero():
    """A counter that went back means that the entry was emptied: all it has now is new, for every field."""
    step = step_of(first(snapshot(7, 700)).baseline, snapshot(3, 900, at=2000))

    assert counts(step) == {(): (3, 900)}
    assert step.emptied == (KEY,)
    assert totals(step) == {(): (10, 1600)}


def test_a_key_that_comes_back_counts_from_zero():
    """A deleted key is finished; when it returns, all it has is new, and its series goes on."""
    keyed = schema("packets", label=by_key)
    here = first(entries({b"a": (5,), b"b": (1,)}), of=keyed)
    gone = step_of(here.baseline, entries({b"b": (2,)}, at=2000), of=keyed)
    back = step_of(gone.baseline, entries({b"a": (9,), b"b": (2,)}, at=3000), of=keyed)

    assert counts(gone) == {of_key("b"): (1,)}
    assert gone.vanished == (b"a",)
    assert counts(back) == {of_key("a"): (9,), of_key("b"): (0,)}
    assert totals(back) == {of_key("a"): (14,), of_key("b"): (2,)}


def test_the_window_of_a_series_that_was_away_starts_where_its_last_one_ended():
    """And its base point ends there: a Collector that knows it must find nothing new in that."""
    keyed = schema("packets", label=by_key)
    here = first(entries({b"a": (5,), b"b": (1,)}), of=keyed)
    gone = step_of(here.baseline, entries({b"b": (2,)}, at=2000), of=keyed)
    back = step_of(gone.baseline, entries({b"a": (9,), b"b": (2,), b"c": (4,)}, at=3000), of=keyed)

    by_name = {one.attributes: one for one in back.series}
    returned, stayed, new = (by_name[of_key(key)] for key in "abc")
    assert (returned.settled_ns, returned.start_ns, returned.end_ns) == (1000, 1000, 3000)
    assert (stayed.settled_ns, stayed.start_ns, stayed.end_ns) == (2000, 2000, 3000)
    assert (new.settled_ns, new.start_ns, new.end_ns) == (0, 2000, 3000)


def test_keys_that_share_their_attributes_are_one_series():
    """Parts of a key that are no attribute are added up over."""
    shared = schema("packets", label=lambda key: (("port", key[0]),))
    step = first(entries({b"\x01a": (5,), b"\x01b": (1,), b"\x02a": (3,)}), of=shared)
    after = step_of(step.baseline, entries({b"\x01b": (2,), b"\x02a": (3,)}, at=2000), of=shared)

    assert counts(step) == {(("port", 1),): (6,), (("port", 2),): (3,)}
    assert counts(after) == {(("port", 1),): (1,), (("port", 2),): (0,)}
    assert totals(after) == {(("port", 1),): (7,), (("port", 2),): (3,)}


def test_what_a_key_counted_stays_with_the_series_that_it_had_then():
    """When a key gets another name, the new series has what comes from then on, and nothing twice."""
    names = {KEY: "eth0"}
    named = schema("packets", label=lambda key: (("interface", names[key]),))
    step = first(snapshot(5), of=named)
    names[KEY] = "uplink"
    after = step_of(step.baseline, snapshot(7, at=2000), of=named)

    assert counts(after) == {(("interface", "uplink"),): (2,)}
    assert totals(after) == {(("interface", "eth0"),): (5,), (("interface", "uplink"),): (2,)}


def test_series_beyond_the_limit_are_added_up_to_one():
    """What finds no room is in the series that says so, and those that had room keep it."""
    few = schema("packets", label=by_key, series_limit=2, attributes=(("site", "x"),))
    step = first(entries({b"a": (5,), b"b": (1,), b"c": (3,), b"d": (4,)}), of=few)
    after = step_of(step.baseline, entries({b"d": (5,), b"c": (3,), b"b": (1,), b"a": (7,)}, at=2000), of=few)
    site = ("site", "x")

    assert counts(step) == {(site, *of_key("a")): (5,), (site, *of_key("b")): (1,), (site, OVERFLOW): (7,)}
    assert step.overflowed == 2
    assert counts(after) == {(site, *of_key("a")): (2,), (site, *of_key("b")): (0,), (site, OVERFLOW): (1,)}
    assert after.forgotten == 0


def test_the_limit_is_one_of_series_not_of_keys():
    """Two metrics of one key are two series."""
    two = schema("packets", "bytes", label=by_key, series_limit=4)
    step = first(entries({b"a": (5, 1), b"b": (1, 1), b"c": (3, 1)}, of=two), of=two)

    assert len(step.series) == 3
    assert counts(step)[(OVERFLOW,)] == (3, 1)


def test_a_series_without_a_key_makes_room():
    """The one that is idle the longest goes first; one that has a key never does."""
    few = schema("packets", label=by_key, series_limit=2)
    one = first(entries({b"a": (5,), b"b": (1,)}), of=few)
    two = step_of(one.baseline, entries({b"b": (2,)}, at=2000), of=few)
    three = step_of(two.baseline, entries({b"b": (2,), b"c": (1,), b"d": (8,)}, at=3000), of=few)

    assert counts(three) == {of_key("b"): (0,), of_key("c"): (1,), (OVERFLOW,): (8,)}
    assert (three.forgotten, three.overflowed) == (1, 1)


NARROW = schema(Field("packets", 0, 32), Field("drops", 32, 8))


def test_a_narrow_counter_that_wraps_on_a_cpu_loses_nothing():
    """Differences are taken in the field's own width, for each CPU, before they are added up."""
    before = first(snapshot(2**32 - 10, 5, 250, 3, of=NARROW, slots=2), of=NARROW).baseline
    step = step_of(before, snapshot(20, 7, 4, 3, at=2000, of=NARROW, slots=2), of=NARROW)

    assert counts(step) == {(): (30 + 2, 10)}
    assert totals(step) == {(): (2**32 - 10 + 5 + 32, 253 + 10)}
    assert step.emptied == ()


def test_a_narrow_counter_may_grow_by_more_than_its_width_over_all_cpus():
    """Each CPU may wrap once a window."""
    before = first(snapshot(9, 9, 0, 0, of=NARROW, slots=2), of=NARROW).baseline
    step = step_of(before, snapshot(8, 8, 0, 0, at=2000, of=NARROW, slots=2), of=NARROW)

    assert counts(step) == {(): (2 * (2**32 - 1), 0)}


def test_an_entry_of_narrow_counters_that_is_all_zero_was_emptied():
    """Otherwise each CPU would seem to have wrapped."""
    before = first(snapshot(1000, 5, 0, 3, of=NARROW, slots=2), of=NARROW).baseline
    step = step_of(before, snapshot(0, 0, 0, 0, at=2000, of=NARROW, slots=2), of=NARROW)

    assert counts(step) == {(): (0, 0)}
    assert step.emptied == (KEY,)


def test_a_byte_that_wraps_to_zero_is_not_taken_for_emptied():
    """With 8 bits that happens all the time."""
    byte = schema(Field("drops", 0, 8))
    before = first(snapshot(250, of=byte), of=byte).baseline
    step = step_of(before, snapshot(0, at=2000, of=byte), of=byte)

    assert counts(step) == {(): (6,)}


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_a_signed_field_may_fall(bits):
    """It is no counter that somebody emptied; its sum falls."""
    level = schema(Field("level", 0, bits, signed=True), kind=Kind.UPDOWNCOUNTER)
    mask = (1 << bits) - 1
    step = first(snapshot(7, of=level), of=level)
    fallen = step_of(step.baseline, snapshot(-3 & mask, at=2000, of=level), of=level)

    assert counts(fallen) == {(): (-10 & U64,)}
    assert totals(fallen) == {(): (-3 & U64,)}
    assert fallen.emptied == ()


def test_an_unsigned_field_that_is_no_counter_may_fall():
    """A number of open connections goes down; that is no wrap, whatever its width."""
    level = schema(Field("level", 0, 16), kind=Kind.UPDOWNCOUNTER)
    step = first(snapshot(40_000, of=level), of=level)
    fallen = step_of(step.baseline, snapshot(39_990, at=2000, of=level), of=level)

    assert totals(step) == {(): (40_000,)}
    assert counts(fallen) == {(): (-10 & U64,)}
    assert totals(fallen) == {(): (39_990,)}


def test_a_gauge_has_what_its_fields_hold():
    """Added up over CPUs and over the keys of its series."""
    gauge = schema(Field("level", 0, 32, signed=True), kind=Kind.GAUGE)
    step = first(entries({b"a": (5, -7 & 0xFFFFFFFF), b"b": (1, 0)}, of=gauge, slots=2), of=gauge)

    assert [signed(one.values[0]) for one in step.series] == [-1]


def test_a_gauge_whose_map_was_replaced_has_what_it_was_last_read_as():
    """The old map is read a last time; a key that the new one has, too, has what it holds there."""
    gauge = schema("level", kind=Kind.GAUGE, label=lambda key: (("key", key.decode()),))
    old = entries({b"a": (5,), b"b": (7,)}, of=gauge)
    step = first(old, entries({b"b": (8,)}, at=2000, identity=TWO, of=gauge), of=gauge)

    assert {one.attributes: one.values for one in step.series} == {
        (("key", "a"),): (5,),
        (("key", "b"),): (8,),
    }


def test_a_field_that_is_read_only_from_now_on_counts_from_now_on():
    """Another configuration for the same map: nothing twice, and the fields that stay go on."""
    before = first(snapshot(7, 700)).baseline
    more = schema("bytes", "drops")
    step = step_of(before, snapshot(900, 50, at=2000, of=more), of=more)
    then = step_of(step.baseline, snapshot(901, 53, at=3000, of=more), of=more)

    assert counts(step) == {(): (200, 0)}
    assert totals(step) == {(): (900, 0)}
    assert counts(then) == {(): (1, 3)}


def test_a_new_map_with_other_fields_counts_on():
    """A program that was rebuilt: fields of one name go on, in whatever order they lie now."""
    before = first(snapshot(7, 700)).baseline
    other = schema("bytes", "drops", "packets")
    new = snapshot(10, 1, 2, at=2001, identity=TWO, of=other)
    step = step_of(before, snapshot(9, 800, at=2000), new, of=other)

    assert counts(step) == {(): (110, 1, 4)}
    assert totals(step) == {(): (810, 1, 11)}


def test_a_wall_clock_that_steps_back_still_moves_the_window_on():
    """The end of a window is always newer than its start, or the Collector would drop the point as known."""
    (one,) = step_of(first(snapshot(7, at=1_000_000)).baseline, snapshot(9, at=400)).series

    assert (one.start_ns, one.end_ns) == (1_000_000, 1_000_001)


def test_a_step_of_the_wall_clock_does_not_change_what_rates_are_divided_by():
    """Nobody steps the clock that counts since the boot."""
    baseline = first(replace(snapshot(7, at=1_000_000), boottime_ns=50)).baseline
    for at in (400, 999_999, 1_000_001, 5_000_000):
        (one,) = step_of(baseline, replace(snapshot(9, at=at), boottime_ns=250)).series

        assert one.elapsed_ns == 200


def test_what_another_process_reported_is_timed_by_the_wall_clock():
    """The journal has no other time; if the clock was stepped back since, there is no telling."""
    baseline = first(snapshot(7, at=1000)).baseline

    for at, elapsed_ns in ((1600, 600), (1000, 0), (400, 0)):
        (one,) = step_of(baseline, replace(snapshot(9, at=at), boottime_ns=250)).series
        assert one.elapsed_ns == elapsed_ns


def test_all_that_a_map_holds_can_be_taken_as_reported():
    """For the base point: everything so far is reported, in the first nanosecond; what follows is new."""
    step = step_of(as_reported(snapshot(7, at=1000, born=10), PACKETS), snapshot(9, at=2000))

    (one,) = step.series
    assert (one.birth_ns, one.settled_ns, one.start_ns) == (10, 11, 11)
    assert (one.counts, one.totals) == ((2,), (9,))


def test_all_that_a_map_holds_can_be_left_out():
    """When it may have been reported before, only what comes from now on is."""
    (one,) = step_of(from_now_on(snapshot(7, at=1000)), snapshot(9, at=2000)).series

    assert (one.birth_ns, one.start_ns, one.counts, one.totals) == (1000, 1000, (2,), (2,))


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
                snapshot(count, at=now, born=5, identity=ONE._replace(map_id=number))
                for number, count in maps
            ]
            step = step_of(baseline or since_birth(snapshots[0]), *snapshots)
            (one,) = step.series
            reported += one.counts[0]
            if end is not None:
                assert one.start_ns == end
            assert one.end_ns > one.start_ns
            baseline, end, held = step.baseline, one.end_ns, []

            assert (reported, totals(step)) == (truth, {(): (truth,)})


keys_come_and_go = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 7), st.integers(0, 255)),
        st.tuples(st.just("delete"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("report"), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(keys_come_and_go, st.integers(1, 9))
def test_all_windows_together_hold_what_all_keys_counted(history, limit):
    """Whatever keys come and go, and however few series there may be, no count is lost between them."""
    of = schema(Field("packets", 0, 64), Field("drops", 64, 8), label=by_key, series_limit=limit)
    truth = reported = 0
    in_map, baseline = {}, None

    def report():
        nonlocal reported, baseline
        reading = entries(dict(in_map), at=(baseline.end_ns if baseline else 1000) + 1, of=of)
        step = advance(baseline or since_birth(reading), [reading], of)
        baseline = step.baseline
        reported += sum(one.counts[0] for one in step.series)
        assert reported == truth
        assert len(step.series) <= max(1, limit // 2) + 1

    for event, number, value in history:
        key = struct.pack("=I", number)
        if event == "count":
            packets, drops = in_map.get(key, (0, 0))
            in_map[key] = packets + value, drops
            truth += value
        else:
            report()
        if event == "delete":
            # Seen before it went and while it is gone: what nobody read, nobody can report.
            in_map.pop(key, None)
            report()
    report()
