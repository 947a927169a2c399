# SPDX-License-Identifier: Apache-2.0
import struct
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.attributes import decode_attributes
from sidecar.counts.delta import (
    advance,
    baseline_as_reported,
    baseline_from_now,
    baseline_from_zero,
    with_lost_maps,
)
from sidecar.counts.delta import probe as delta_probe
from sidecar.kinds import Kind
from sidecar.model import Fall, Field, Layout, MapIdentity, Reading, Snapshot
from sidecar.schema import OVERFLOW, Instrument, Schema
from sidecar.u64 import U64, signed

ONE = MapIdentity("boot-1", 41, 6, 4, 64, 1)
TWO = ONE._replace(map_id=42)
AFTER_REBOOT = ONE._replace(boot_id="boot-2")
KEY = bytes(4)


def schema(*fields, label=lambda _key: (), kind=Kind.COUNTER, **more):
    """Return a schema with one instrument a field; a field is a name, or a Field."""
    fields = [Field(field, 64 * at) if isinstance(field, str) else field for at, field in enumerate(fields)]
    instruments = tuple(Instrument(field.name, "1", "", field.name, kind) for field in fields)
    return Schema("test", Layout(8 * len(fields), tuple(fields)), instruments, label, **more)


BOTH = schema("packets", "bytes")
PACKETS = schema("packets")


def snapshot(*cells, at=1000, identity=ONE, born=10, key=KEY, of=None, slots=1):
    return entries({key: cells}, at=at, identity=identity, born=born, of=of, slots=slots)


def entries(cells, *, at=1000, identity=ONE, born=10, of=None, slots=1):
    width = max(map(len, cells.values()), default=1)
    of = of or (BOTH if width == 2 else PACKETS)
    return Snapshot(identity, born, at, Reading(of.columns(slots), cells))


def window_of(baseline, *snapshots, of=None):
    of = of or (BOTH if len(snapshots[-1].reading.columns) == 2 else PACKETS)
    return advance(baseline, snapshots, of)


def first(*snapshots, of=None):
    return window_of(baseline_from_zero(snapshots[0]), *snapshots, of=of)


def counts(window):
    """Return the counts of each series in the window."""
    return {series.attributes: series.counts for series in window.series}


def totals(window):
    """Return the totals of each series since its start time."""
    return {series: state.totals for series, state in window.baseline.streams.items()}


def by_key(key):
    return (("key", key.hex()),)


def of_key(key):
    return by_key(key if isinstance(key, bytes) else key.encode())


def test_the_first_window_holds_everything_since_the_load():
    """Without a baseline all counts are new, and the window starts when the program was loaded."""
    window = first(snapshot(7, 700, at=1000, born=10))

    (series,) = window.series
    assert (series.counts, series.totals) == ((7, 700), (7, 700))
    assert (series.start_time_ns, series.start_ns, series.end_ns, series.is_new) == (10, 10, 1000, True)


def test_the_next_window_holds_the_difference_and_starts_at_the_last_end():
    """Windows are contiguous: each starts where the one before ended."""
    window = window_of(first(snapshot(7, 700, at=1000)).baseline, snapshot(9, 1000, at=2000))

    (series,) = window.series
    assert (series.counts, series.totals) == ((2, 300), (9, 1000))
    assert (series.start_time_ns, series.start_ns, series.end_ns, series.is_new) == (10, 1000, 2000, False)


def test_a_new_map_counts_from_zero():
    """All that another map holds is new, even if it is more than the last one held."""
    before = first(snapshot(7)).baseline

    for identity in (TWO, AFTER_REBOOT):
        window = window_of(before, snapshot(9, at=2000, identity=identity, born=1500))

        assert counts(window) == {(): (9,)}
        assert totals(window) == {(): (16,)}
        assert window.series[0].start_ns == 1000
        assert window.emptied == ()


def test_the_old_map_is_read_a_last_time_when_a_new_one_takes_its_place():
    """The counts of both maps go into one window."""
    before = first(snapshot(7)).baseline
    window = window_of(before, snapshot(10, at=2000), snapshot(4, at=2001, identity=TWO))

    assert counts(window) == {(): (3 + 4,)}
    assert totals(window) == {(): (14,)}
    assert window.baseline.identity == TWO
    assert window.baseline.end_ns == 2001


def test_what_an_old_map_still_counts_is_counted_once():
    """A map that is read again after it was reported adds only its growth since."""
    before = first(snapshot(10, at=2000), snapshot(4, at=2001, identity=TWO)).baseline

    assert counts(window_of(before, snapshot(10, at=3000), snapshot(6, at=3001, identity=TWO))) == {(): (2,)}
    assert counts(window_of(before, snapshot(11, at=3000), snapshot(6, at=3001, identity=TWO))) == {(): (3,)}


def test_a_map_that_is_put_back_continues_where_it_was():
    """A rollback brings the previous map back: what was already counted is not counted again."""
    one = first(snapshot(7)).baseline
    two = window_of(one, snapshot(7, at=2000), snapshot(4, at=2001, identity=TWO)).baseline
    back = window_of(two, snapshot(4, at=3000, identity=TWO), snapshot(9, at=3001))

    assert counts(back) == {(): (2,)}
    assert back.baseline.identity == ONE


def test_an_emptied_map_counts_from_zero():
    """All counters that held something fell, so the entry was emptied: all it holds now is new."""
    window = window_of(first(snapshot(7, 700)).baseline, snapshot(3, 300, at=2000))

    assert counts(window) == {(): (3, 300)}
    assert (window.emptied, window.fallen, window.falls) == ((KEY,), 0, ())
    assert totals(window) == {(): (10, 1000)}


def test_a_counter_that_held_nothing_is_no_evidence_against_an_emptied_entry():
    """It cannot have fallen; all it holds now is new either way."""
    window = window_of(first(snapshot(7, 0)).baseline, snapshot(3, 5, at=2000))

    assert counts(window) == {(): (3, 5)}
    assert window.emptied == (KEY,)


def test_a_field_that_falls_tells_nothing_about_its_neighbours():
    """They did not fall, so the entry was not emptied: their growth counts, the fall does not."""
    window = window_of(first(snapshot(1000, 999_000)).baseline, snapshot(1010, 998_990, at=2000))
    then = window_of(window.baseline, snapshot(1020, 999_010, at=3000))

    assert (counts(window), counts(then)) == ({(): (10, 0)}, {(): (10, 20)})
    assert totals(then) == {(): (1020, 999_020)}
    assert (window.emptied, window.fallen) == ((), 1)
    assert window.falls == (Fall("bytes", KEY, 999_000, 998_990),)
    assert (then.fallen, then.falls) == (0, ())


def test_a_counter_that_did_not_change_shows_that_its_entry_was_not_emptied():
    """In an emptied entry, an idle counter would be zero."""
    window = window_of(first(snapshot(1000, 50)).baseline, snapshot(1000, 49, at=2000))

    assert counts(window) == {(): (0, 0)}
    assert (window.emptied, window.fallen) == ((), 1)


def test_each_field_that_fell_is_reported_with_one_example():
    """However many keys it fell in, and in either map."""
    keyed = schema("packets", "bytes", label=by_key)
    keys = [bytes([number]) for number in range(5)]
    before = first(entries(dict.fromkeys(keys, (9, 90)), of=keyed), of=keyed).baseline
    old = entries(dict.fromkeys(keys, (10, 80)), at=2000, of=keyed)
    window = window_of(before, old, entries({b"x": (1, 1)}, at=2001, identity=TWO, of=keyed), of=keyed)
    then = window_of(window.baseline, old, entries({b"x": (0, 2)}, at=3001, identity=TWO, of=keyed), of=keyed)

    assert (window.fallen, window.falls) == (5, (Fall("bytes", keys[0], 90, 80),))
    assert (then.fallen, then.falls) == (1, (Fall("packets", b"x", 1, 0),))
    assert totals(then)[of_key(b"x")] == (1, 2)


def test_a_level_in_an_emptied_entry_is_its_present_value():
    """A field that may fall is no evidence, and its sum remains its level."""
    fields = (Field("packets", 0), Field("level", 64))
    instruments = (Instrument("p", "1", "", "packets"), Instrument("l", "1", "", "level", Kind.UPDOWNCOUNTER))
    of = Schema("test", Layout(16, fields), instruments, lambda _key: ())
    window = first(snapshot(100, 50, of=of), of=of)
    emptied = window_of(window.baseline, snapshot(0, 60, at=2000, of=of), of=of)
    fallen = window_of(emptied.baseline, snapshot(3, 20, at=3000, of=of), of=of)

    assert (emptied.emptied, fallen.emptied) == ((KEY,), ())
    assert totals(emptied) == {(): (100, 60)}
    assert totals(fallen) == {(): (103, 20)}


def test_entries_of_different_cpus_are_judged_separately():
    """An emptied entry tells nothing about that of another CPU."""
    of = schema("packets", "bytes", cpu="cpu")
    one, two = (KEY + struct.pack("=I", cpu) for cpu in range(2))
    before = first(entries({one: (7, 700), two: (8, 800)}, of=of), of=of).baseline
    window = window_of(before, entries({one: (1, 100), two: (9, 700)}, at=2000, of=of), of=of)

    assert counts(window) == {(("cpu", 0),): (1, 100), (("cpu", 1),): (1, 0)}
    assert (window.emptied, window.falls) == ((one,), (Fall("bytes", two, 800, 700),))


def test_a_key_that_comes_back_counts_from_zero():
    """When a deleted key returns, all it holds is new, and its series continues."""
    keyed = schema("packets", label=by_key)
    here = first(entries({b"a": (5,), b"b": (1,)}), of=keyed)
    gone = window_of(here.baseline, entries({b"b": (2,)}, at=2000), of=keyed)
    back = window_of(gone.baseline, entries({b"a": (9,), b"b": (2,)}, at=3000), of=keyed)

    assert counts(gone) == {of_key("b"): (1,)}
    assert gone.vanished == (b"a",)
    assert counts(back) == {of_key("a"): (9,), of_key("b"): (0,)}
    assert totals(back) == {of_key("a"): (14,), of_key("b"): (2,)}


def test_the_window_of_a_series_that_was_absent_starts_where_its_last_one_ended():
    """A Collector that knows the series receives contiguous windows."""
    keyed = schema("packets", label=by_key)
    here = first(entries({b"a": (5,), b"b": (1,)}), of=keyed)
    gone = window_of(here.baseline, entries({b"b": (2,)}, at=2000), of=keyed)
    back = window_of(gone.baseline, entries({b"a": (9,), b"b": (2,), b"c": (4,)}, at=3000), of=keyed)

    by_name = {series.attributes: series for series in back.series}
    returned, stayed, new = (by_name[of_key(key)] for key in "abc")
    assert (returned.is_new, returned.start_ns, returned.end_ns) == (False, 1000, 3000)
    assert (stayed.is_new, stayed.start_ns, stayed.end_ns) == (False, 2000, 3000)
    assert (new.is_new, new.start_ns, new.end_ns) == (True, 2000, 3000)


def test_keys_that_share_their_attributes_are_one_series():
    """Keys that differ only in parts without an attribute are added up."""
    shared = schema("packets", label=lambda key: (("port", key[0]),))
    window = first(entries({b"\x01a": (5,), b"\x01b": (1,), b"\x02a": (3,)}), of=shared)
    after = window_of(window.baseline, entries({b"\x01b": (2,), b"\x02a": (3,)}, at=2000), of=shared)

    assert counts(window) == {(("port", 1),): (6,), (("port", 2),): (3,)}
    assert counts(after) == {(("port", 1),): (1,), (("port", 2),): (0,)}
    assert totals(after) == {(("port", 1),): (7,), (("port", 2),): (3,)}


def test_counts_stay_with_the_series_that_their_key_had_then():
    """When the attributes of a key change, the new series gets the counts from then on, and none twice."""
    names = {KEY: "eth0"}
    named = schema("packets", label=lambda key: (("interface", names[key]),))
    window = first(snapshot(5), of=named)
    names[KEY] = "uplink"
    after = window_of(window.baseline, snapshot(7, at=2000), of=named)

    assert counts(after) == {(("interface", "uplink"),): (2,)}
    assert totals(after) == {(("interface", "eth0"),): (5,), (("interface", "uplink"),): (2,)}


def test_series_beyond_the_limit_are_aggregated_into_one():
    """They go to the overflow series, and the series within the limit keep their place."""
    few = schema("packets", label=by_key, series_limit=2, attributes=(("site", "x"),))
    window = first(entries({b"a": (5,), b"b": (1,), b"c": (3,), b"d": (4,)}), of=few)
    after = window_of(
        window.baseline, entries({b"d": (5,), b"c": (3,), b"b": (1,), b"a": (7,)}, at=2000), of=few
    )
    site = ("site", "x")

    assert counts(window) == {(site, *of_key("a")): (5,), (site, *of_key("b")): (1,), (site, OVERFLOW): (7,)}
    assert window.overflowed == 2
    assert counts(after) == {(site, *of_key("a")): (2,), (site, *of_key("b")): (0,), (site, OVERFLOW): (1,)}
    assert after.forgotten == 0


def test_the_limit_counts_series_not_keys():
    """Two metrics of one key are two series."""
    two = schema("packets", "bytes", label=by_key, series_limit=4)
    window = first(entries({b"a": (5, 1), b"b": (1, 1), b"c": (3, 1)}, of=two), of=two)

    assert len(window.series) == 3
    assert counts(window)[(OVERFLOW,)] == (3, 1)


def test_a_series_without_a_key_is_evicted_for_a_new_one():
    """The longest idle goes first; a series that has a key never does."""
    few = schema("packets", label=by_key, series_limit=2)
    one = first(entries({b"a": (5,), b"b": (1,)}), of=few)
    two = window_of(one.baseline, entries({b"b": (2,)}, at=2000), of=few)
    three = window_of(two.baseline, entries({b"b": (2,), b"c": (1,), b"d": (8,)}, at=3000), of=few)

    assert counts(three) == {of_key("b"): (0,), of_key("c"): (1,), (OVERFLOW,): (8,)}
    assert (three.forgotten, three.overflowed) == (1, 1)


NARROW = schema(Field("packets", 0, 32), Field("drops", 32, 8))


def test_a_narrow_counter_that_wraps_on_a_cpu_loses_nothing():
    """Differences are taken in the field's own width, for each CPU, before they are added up."""
    before = first(snapshot(2**32 - 10, 5, 250, 3, of=NARROW, slots=2), of=NARROW).baseline
    window = window_of(before, snapshot(20, 7, 4, 3, at=2000, of=NARROW, slots=2), of=NARROW)

    assert counts(window) == {(): (30 + 2, 10)}
    assert totals(window) == {(): (2**32 - 10 + 5 + 32, 253 + 10)}
    assert window.emptied == ()


def test_a_narrow_counter_may_grow_by_almost_half_its_range_on_each_cpu():
    """A step of half the range or more counts as a fall: the two are indistinguishable."""
    most = 2**31 - 1
    before = first(snapshot(2**31, 7, 1, 3, of=NARROW, slots=2), of=NARROW).baseline
    window = window_of(before, snapshot(2**32 - 1, 7 + most, 1, 3, at=2000, of=NARROW, slots=2), of=NARROW)
    then = window_of(
        window.baseline, snapshot(2**31 - 1, 7 + most, 2, 3, at=3000, of=NARROW, slots=2), of=NARROW
    )

    assert counts(window) == {(): (2 * most, 0)}
    assert (counts(then), then.emptied) == ({(): (0, 1)}, ())
    assert then.falls == (Fall("packets", KEY, 2**32 - 1, 2**31 - 1),)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_a_field_of_any_width_that_falls_adds_nothing(bits):
    """A time to live, seconds left, a depth: a fall is never taken for a wrap."""
    of = schema(Field("packets", 0), Field("left", 64, bits))
    before = first(snapshot(9, 200, of=of), of=of).baseline
    window = window_of(before, snapshot(19, 190, at=2000, of=of), of=of)

    assert counts(window) == {(): (10, 0)}
    assert (window.emptied, window.falls) == ((), (Fall("left", KEY, 200, 190),))


def test_a_cell_that_falls_on_one_cpu_tells_nothing_about_the_others():
    """The growth of the others counts."""
    before = first(snapshot(100, 50, 0, 0, of=NARROW, slots=2), of=NARROW).baseline
    window = window_of(before, snapshot(90, 57, 0, 0, at=2000, of=NARROW, slots=2), of=NARROW)

    assert counts(window) == {(): (7, 0)}
    assert (window.emptied, window.fallen) == ((), 1)


def test_an_entry_of_narrow_counters_that_is_all_zero_was_emptied():
    """Otherwise each CPU would seem to have wrapped."""
    before = first(snapshot(1000, 5, 0, 3, of=NARROW, slots=2), of=NARROW).baseline
    window = window_of(before, snapshot(0, 0, 0, 0, at=2000, of=NARROW, slots=2), of=NARROW)

    assert counts(window) == {(): (0, 0)}
    assert window.emptied == (KEY,)


def test_a_byte_that_wraps_to_zero_is_not_taken_for_emptied():
    """With 8 bits that happens all the time."""
    byte = schema(Field("drops", 0, 8))
    before = first(snapshot(250, of=byte), of=byte).baseline
    window = window_of(before, snapshot(0, at=2000, of=byte), of=byte)

    assert counts(window) == {(): (6,)}


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_a_signed_field_may_fall(bits):
    """It is no counter, so nothing was emptied; its sum falls."""
    level = schema(Field("level", 0, bits, signed=True), kind=Kind.UPDOWNCOUNTER)
    mask = (1 << bits) - 1
    window = first(snapshot(7, of=level), of=level)
    fallen = window_of(window.baseline, snapshot(-3 & mask, at=2000, of=level), of=level)

    assert counts(fallen) == {(): (-10 & U64,)}
    assert totals(fallen) == {(): (-3 & U64,)}
    assert fallen.emptied == ()


def test_an_unsigned_field_that_is_no_counter_may_fall():
    """The number of open connections falls; that is no wrap, whatever its width."""
    level = schema(Field("level", 0, 16), kind=Kind.UPDOWNCOUNTER)
    window = first(snapshot(40_000, of=level), of=level)
    fallen = window_of(window.baseline, snapshot(39_990, at=2000, of=level), of=level)

    assert totals(window) == {(): (40_000,)}
    assert counts(fallen) == {(): (-10 & U64,)}
    assert totals(fallen) == {(): (39_990,)}


def test_a_gauge_has_the_values_of_its_fields():
    """Added up over CPUs and over the keys of its series."""
    gauge = schema(Field("level", 0, 32, signed=True), kind=Kind.GAUGE)
    window = first(entries({b"a": (5, -7 & 0xFFFFFFFF), b"b": (1, 0)}, of=gauge, slots=2), of=gauge)

    assert [signed(series.values[0]) for series in window.series] == [-1]


def test_a_gauge_whose_map_was_replaced_has_its_last_value():
    """The old map is read a last time; a key that is also in the new one has its value there."""
    gauge = schema("level", kind=Kind.GAUGE, label=lambda key: (("key", key.decode()),))
    old = entries({b"a": (5,), b"b": (7,)}, of=gauge)
    window = first(old, entries({b"b": (8,)}, at=2000, identity=TWO, of=gauge), of=gauge)

    assert {series.attributes: series.values for series in window.series} == {
        (("key", "a"),): (5,),
        (("key", "b"),): (8,),
    }


def test_a_series_with_a_gauge_is_gone_once_when_it_loses_its_last_key():
    """Deleted, left behind in the old map, or renamed: a cache that serves its gauge must drop it."""
    names = {b"b": "b"}
    gauge = schema("level", kind=Kind.GAUGE, label=lambda key: (("key", names.get(key, key.decode())),))
    one = first(entries({b"a": (5,), b"b": (7,), b"c": (9,)}, of=gauge), of=gauge)
    two = window_of(one.baseline, entries({b"b": (7,), b"c": (9,)}, at=2000, of=gauge), of=gauge)
    new = entries({b"b": (8,)}, at=3000, identity=TWO, of=gauge)
    three = window_of(two.baseline, entries({b"b": (7,), b"c": (10,)}, at=3000, of=gauge), new, of=gauge)
    four = window_of(three.baseline, new, of=gauge)
    names[b"b"] = "B"
    five = window_of(four.baseline, new, of=gauge)
    back = window_of(five.baseline, entries({b"a": (5,)}, at=4000, identity=TWO, of=gauge), of=gauge)

    gone = [
        [dict(decode_attributes(name))["key"] for name in window.gone] for window in (one, two, three, four)
    ]
    assert gone == [[], ["a"], [], ["c"]]
    assert [decode_attributes(name) for name in five.gone] == [(("key", "b"),)]
    assert [decode_attributes(name) for name in back.gone] == [(("key", "B"),)]


def test_a_series_of_sums_is_never_gone():
    """Without a new data point, its counter simply stays what it is."""
    keyed = schema("packets", label=by_key)
    here = first(entries({b"a": (5,), b"b": (1,)}, of=keyed), of=keyed)

    assert window_of(here.baseline, entries({b"b": (2,)}, at=2000, of=keyed), of=keyed).gone == ()


def test_a_field_that_was_not_read_before_counts_from_its_present_value():
    """Another configuration for the same map: nothing is counted twice, and the other fields continue."""
    before = first(snapshot(7, 700)).baseline
    more = schema("bytes", "drops")
    window = window_of(before, snapshot(900, 50, at=2000, of=more), of=more)
    then = window_of(window.baseline, snapshot(901, 53, at=3000, of=more), of=more)

    assert counts(window) == {(): (200, 0)}
    assert totals(window) == {(): (900, 0)}
    assert counts(then) == {(): (1, 3)}


def test_a_field_that_was_not_read_before_is_no_evidence():
    """Its earlier value is unknown; the other fields tell whether the entry was emptied."""
    before = first(snapshot(7, 700)).baseline
    more = schema("bytes", "packets", "drops")
    emptied = window_of(before, snapshot(100, 1, 50, at=2000, of=more), of=more)
    fallen = window_of(before, snapshot(600, 8, 50, at=2000, of=more), of=more)

    assert (counts(emptied), emptied.emptied) == ({(): (100, 1, 0)}, (KEY,))
    assert (counts(fallen), fallen.falls) == ({(): (0, 1, 0)}, (Fall("bytes", KEY, 700, 600),))


def test_a_new_map_with_other_fields_continues_the_totals():
    """The program was rebuilt: fields of the same name continue, in whatever order they are now."""
    before = first(snapshot(7, 700)).baseline
    other = schema("bytes", "drops", "packets")
    new = snapshot(10, 1, 2, at=2001, identity=TWO, of=other)
    window = window_of(before, snapshot(9, 800, at=2000), new, of=other)

    assert counts(window) == {(): (110, 1, 4)}
    assert totals(window) == {(): (810, 1, 11)}


def test_a_wall_clock_that_steps_back_still_moves_the_window_on():
    """The window still ends after its start, or the Collector would drop the data point as a duplicate."""
    (series,) = window_of(first(snapshot(7, at=1_000_000)).baseline, snapshot(9, at=400)).series

    assert (series.start_ns, series.end_ns) == (1_000_000, 1_000_001)


def test_a_step_of_the_wall_clock_does_not_change_the_divisor_of_rates():
    """CLOCK_BOOTTIME is never stepped."""
    baseline = first(replace(snapshot(7, at=1_000_000), boottime_ns=50)).baseline
    for at in (400, 999_999, 1_000_001, 5_000_000):
        (series,) = window_of(baseline, replace(snapshot(9, at=at), boottime_ns=250)).series

        assert series.elapsed_ns == 200


def test_after_a_restart_the_elapsed_time_comes_from_the_wall_clock():
    """The journal keeps no other time; if that clock was stepped back since, the time is unknown."""
    baseline = first(snapshot(7, at=1000)).baseline

    for at, elapsed_ns in ((1600, 600), (1000, 0), (400, 0)):
        (series,) = window_of(baseline, replace(snapshot(9, at=at), boottime_ns=250)).series
        assert series.elapsed_ns == elapsed_ns


def test_all_that_a_map_holds_can_count_as_reported():
    """For the base point: everything so far is reported in the first nanosecond; only the rest is new."""
    window = window_of(baseline_as_reported(snapshot(7, at=1000, born=10), PACKETS), snapshot(9, at=2000))

    (series,) = window.series
    assert (series.start_time_ns, series.is_new, series.start_ns) == (10, False, 11)
    assert (series.counts, series.totals) == ((2,), (9,))


def test_a_map_that_can_still_be_read_is_never_forgotten():
    """However many came after it, and even if it counted nothing more."""
    three = [snapshot(4, at=1000 + number, identity=ONE._replace(map_id=number)) for number in (41, 42, 43)]
    held = first(three[0]).baseline
    for _ in range(2):
        window = window_of(held, *three)
        held = window.baseline

    assert counts(window) == {(): (0,)}
    assert totals(window) == {(): (12,)}


def test_a_probe_counts_nothing_and_leaves_everything_to_be_counted():
    """Its window is the first nanosecond after the last one; accepted or rejected, it carries no count."""
    before = first(snapshot(7, at=1000)).baseline
    probe = delta_probe(before, snapshot(9, at=2000), PACKETS)
    (series,) = probe.series
    after = window_of(probe.baseline, snapshot(9, at=2000))

    assert (series.start_ns, series.end_ns, series.counts, series.totals) == (1000, 1001, (0,), (7,))
    assert (after.series[0].start_ns, counts(after), totals(after)) == (1001, {(): (2,)}, {(): (9,)})


def test_a_probe_has_the_series_of_the_first_reading():
    """Even before anything was reported."""
    probe = delta_probe(baseline_from_zero(snapshot(7, born=10)), snapshot(7, born=10), PACKETS)

    assert [(series.start_ns, series.end_ns, series.counts) for series in probe.series] == [(10, 11, (0,))]
    assert counts(window_of(probe.baseline, snapshot(7, at=2000))) == {(): (7,)}


def test_all_that_a_map_holds_can_be_excluded():
    """If it may have been reported before, only the growth from now on is."""
    (series,) = window_of(baseline_from_now(snapshot(7, at=1000)), snapshot(9, at=2000)).series

    assert (series.start_time_ns, series.start_ns, series.counts, series.totals) == (1000, 1000, (2,), (2,))


def test_maps_that_are_gone_are_reported_from_their_last_reading():
    """The last snapshots of maps that can no longer be read precede those of the maps that can."""
    gone, old, now = snapshot(5, identity=AFTER_REBOOT), snapshot(6), snapshot(9, at=2000)

    assert with_lost_maps([gone, old], [now]) == (gone, now)


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
            window = window_of(baseline or baseline_from_zero(snapshots[0]), *snapshots)
            (series,) = window.series
            reported += series.counts[0]
            if end is not None:
                assert series.start_ns == end
            assert series.end_ns > series.start_ns
            baseline, end, held = window.baseline, series.end_ns, []

            assert (reported, totals(window)) == (truth, {(): (truth,)})


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
        window = advance(baseline or baseline_from_zero(reading), [reading], of)
        baseline = window.baseline
        reported += sum(series.counts[0] for series in window.series)
        assert reported == truth
        assert len(window.series) <= max(1, limit // 2) + 1

    for event, number, value in history:
        key = struct.pack("=I", number)
        if event == "count":
            packets, drops = in_map.get(key, (0, 0))
            in_map[key] = packets + value, drops
            truth += value
        else:
            report()
        if event == "delete":
            # Read before and after the deletion: counts that were never read cannot be reported.
            in_map.pop(key, None)
            report()
    report()


@st.composite
def counters(draw):
    """Draw fields of some widths; the first is wide enough to tell an emptied entry from a wrapped one."""
    more = st.lists(st.sampled_from([8, 16, 24, 32, 64]), max_size=3)
    widths = [draw(st.sampled_from([32, 64])), *draw(more)]
    return schema(*(Field(f"f{at}", 64 * at, bits) for at, bits in enumerate(widths)))


@given(st.data(), counters(), st.integers(1, 2), st.integers(1, 8))
def test_counts_of_counters_are_neither_lost_nor_doubled(data, of, slots, windows):
    """Each grows by less than half its range, wraps included; entries are emptied where a reading sees it."""
    bits = [column.bits for column in of.columns(slots) for _ in range(column.cells)]
    cells, truth, reported, baseline = [0] * len(bits), 0, 0, None

    def report(at):
        nonlocal baseline, reported
        read = snapshot(*cells, at=at, of=of, slots=slots)
        window = window_of(baseline or baseline_from_zero(read), read, of=of)
        baseline = window.baseline
        reported += sum(window.series[0].counts)
        assert (reported, window.fallen) == (truth, 0)

    report(1000)
    for window in range(windows):
        grown = [data.draw(st.integers(0, min(2 ** (width - 1) - 1, 2**40))) for width in bits]
        cells = [(old + more) % 2**width for old, more, width in zip(cells, grown, bits, strict=True)]
        truth += sum(grown)
        report(2000 + 10 * window)
        if cells[0] and data.draw(st.booleans()):
            cells = [0] * len(bits)
            report(2005 + 10 * window)


@given(st.data(), st.sampled_from([8, 16, 32, 64]), counters(), st.integers(0, 2**40))
def test_no_neighbour_changes_what_a_counter_that_did_not_fall_counts(data, bits, others, grown):
    """Whatever the other fields of its entry held and hold now."""
    of = schema(Field("packets", 512, bits), *others.layout.fields)
    held = data.draw(st.integers(1, 2**bits - 1))
    grown %= 2 ** (bits - 1)
    was, now = (
        [data.draw(st.integers(0, 2**field.bits - 1)) for field in others.layout.fields] for _ in range(2)
    )
    # An entry that is all zero was emptied: by wrapping alone it would be a rare accident.
    assume(any(now) or (held + grown) % 2**bits)
    before = first(snapshot(held, *was, of=of), of=of).baseline
    window = window_of(before, snapshot((held + grown) % 2**bits, *now, at=2000, of=of), of=of)

    assert window.series[0].counts[0] == grown


def test_no_series_is_left_out_while_the_wall_clock_is_behind(monkeypatch):
    """By the wall clock none would be due for as long as it was stepped back."""
    monkeypatch.setattr("sidecar.counts.idle.OMIT_IDLE_FROM", 0)
    before = first(snapshot(7, at=10**12))
    behind = advance(before.baseline, [snapshot(7, at=10**9)], PACKETS, include_idle=False)
    after = advance(behind.baseline, [snapshot(7, at=10**12 + 10**9)], PACKETS, include_idle=False)

    assert (len(behind.to_export), len(after.to_export)) == (1, 0)


def test_telling_cpus_apart_from_now_on_counts_nothing_twice():
    """The entries of a known map then have other keys, and hold what was already counted."""
    before = first(entries({b"a": (5,)}))
    apart = {b"a" + bytes([cpu, 0, 0, 0]): (count,) for cpu, count in ((0, 4), (1, 2))}
    window = window_of(before.baseline, entries(apart, at=2000))
    then = window_of(
        window.baseline, entries({key: (count + 1,) for key, (count,) in apart.items()}, at=3000)
    )

    assert (counts(window), counts(then)) == ({(): (0,)}, {(): (2,)})
