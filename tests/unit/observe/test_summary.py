# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot
from sidecar.observe.summary import Summary, field_sums
from sidecar.schema import Instrument, Schema
from tests.packet_counter import COLUMNS, FIELDS, SCHEMA

IDENTITY = MapIdentity("boot", 41, 6, 4, 64, 1)
SECOND = 10**9
BORN = 1_700_000_000 * SECOND
# total, bytes, icmp, tcp, udp, other, ipv4, ipv6
COUNTS = (6180, 3_884_415, 50, 4106, 408, 1616, 4561, 3)


def snapshot(*many, seconds=60.0, uptime=None):
    cells = {bytes([at, 0, 0, 0]): counts for at, counts in enumerate(many)}
    taken = BORN + round(seconds * SECOND)
    return Snapshot(IDENTITY, BORN, taken, Reading(COLUMNS, cells), uptime and uptime * SECOND)


def line(last, *before):
    """The line of a snapshot, after those of earlier ones."""
    summary = Summary()
    for earlier in before:
        summary.line("pin", SCHEMA, earlier)
    return summary.line("pin", SCHEMA, last)


def packets(number, seconds):
    return snapshot((number, *COUNTS[1:]), seconds=seconds)


def rate(line):
    return line.rpartition("Rate: ")[2]


def test_the_line_is_the_documented_one():
    """Thousands separated, the three groups, and the rate since the last line."""
    assert line(snapshot(COUNTS), packets(6180 - 2469, 40)) == (
        "Total: 6,180 pkts, 3,884,415 bytes | IPv4: 4,561, IPv6: 3 | "
        "TCP: 4,106, UDP: 408, ICMP: 50, Other: 1,616 | Rate: 123.45 pps"
    )


def test_the_first_rate_is_the_mean_over_the_life_of_the_map():
    """There is no last line yet."""
    assert rate(line(snapshot(COUNTS))) == "103.00 pps"


def test_after_a_new_map_the_rate_is_the_mean_over_its_life():
    """A new map counts from zero: its packets are not compared with those of the old one."""
    assert rate(line(snapshot(COUNTS), packets(7000, 40))) == "103.00 pps"


@pytest.mark.parametrize("ahead_s", [0, 5])
def test_without_time_there_is_no_rate(ahead_s):
    """Two lines at the same time, or a clock that was set back, give no divisor."""
    assert rate(line(snapshot(COUNTS), packets(0, 60 + ahead_s))) == "0.00 pps"


@pytest.mark.parametrize("step_s", [-3600, -19, -20, -21, 3600])
def test_a_step_of_the_wall_clock_does_not_change_the_rate(step_s):
    """It is computed from the elapsed time, not the wall clock."""
    before = replace(packets(6180 - 2469, 4000), boottime_ns=1000 * SECOND)

    assert rate(line(snapshot(COUNTS, seconds=4020 + step_s, uptime=1020), before)) == "123.45 pps"


def test_an_idle_interface_has_rate_zero():
    """No packets arrived."""
    assert rate(line(snapshot(COUNTS), packets(6180, 40))) == "0.00 pps"


def test_a_large_rate_has_separators():
    """Ten million packets per second."""
    assert rate(line(packets(10**7, 1))) == "10,000,000.00 pps"


def test_large_counts_are_exact():
    """2^64-1 is printed to the last digit."""
    shown = line(snapshot((2**64 - 1,) * 8))

    assert shown.startswith("Total: 18,446,744,073,709,551,615 pkts, 18,446,744,073,709,551,615 bytes | ")


def test_the_line_sums_all_entries():
    """A map of several keys has one line."""
    sums = field_sums(SCHEMA, snapshot(COUNTS, COUNTS, COUNTS))

    assert tuple(sums.values()) == tuple(3 * count for count in COUNTS)
    assert list(sums) == FIELDS


def test_any_other_map_shows_its_keys_and_fields():
    """A map without a profile shows the number of its keys and the sums of its fields."""
    layout = Layout(16, (Field("drops", 0, 32), Field("level", 64, signed=True)))
    schema = Schema("flows", layout, (Instrument("flows.drops", "", "", "drops"),), lambda _key: ())
    cells = {b"a": (1000, 5, -3 % 2**64), b"b": (0, 1, 1)}
    reading = Reading(schema.columns(2), cells)
    shown = Summary().line("pin", schema, Snapshot(IDENTITY, BORN, BORN + 2 * SECOND, reading))

    assert shown == "2 keys | drops: 1,006, level: -2 | Rate: 503.00 drops/s"
