# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar.model import MapIdentity, Snapshot
from sidecar.profile import PACKET_COUNTER
from sidecar.summary import field_sums, summary

LAYOUT = PACKET_COUNTER.layout
IDENTITY = MapIdentity("boot", 41, 6, 4, 64, 1)
SECOND = 10**9
BORN = 1_700_000_000 * SECOND
# total, bytes, icmp, tcp, udp, other, ipv4, ipv6
COUNTS = (6180, 3_884_415, 50, 4106, 408, 1616, 4561, 3)


def snapshot(*many, seconds=60.0):
    totals = {bytes([at, 0, 0, 0]): counts for at, counts in enumerate(many)}
    return Snapshot(IDENTITY, BORN, BORN + round(seconds * SECOND), totals)


def rate(line):
    return line.rpartition("Rate: ")[2]


def test_the_line_is_the_documented_one():
    """Thousands separated, the three groups, and the rate since the last line."""
    previous = (BORN + 40 * SECOND, 6180 - 2469)

    assert summary(LAYOUT, snapshot(COUNTS), previous) == (
        "Total: 6,180 pkts, 3,884,415 bytes | IPv4: 4,561, IPv6: 3 | "
        "TCP: 4,106, UDP: 408, ICMP: 50, Other: 1,616 | Rate: 123.45 pps"
    )


def test_the_first_rate_is_the_mean_since_the_map_counts():
    """There is no last line yet."""
    assert rate(summary(LAYOUT, snapshot(COUNTS), None)) == "103.00 pps"


def test_after_a_new_map_the_rate_is_the_mean_since_that_one_counts():
    """A new map counts from zero: its packets are not compared with the old one's."""
    assert rate(summary(LAYOUT, snapshot(COUNTS), (BORN + 40 * SECOND, 7000))) == "103.00 pps"


@pytest.mark.parametrize("ahead_s", [0, 5])
def test_without_time_there_is_no_rate(ahead_s):
    """Two lines at one time, or a clock that was set back, divide by nothing."""
    assert rate(summary(LAYOUT, snapshot(COUNTS), (BORN + (60 + ahead_s) * SECOND, 0))) == "0.00 pps"


def test_a_quiet_interface_has_rate_zero():
    """Nothing came."""
    assert rate(summary(LAYOUT, snapshot(COUNTS), (BORN + 40 * SECOND, 6180))) == "0.00 pps"


def test_a_large_rate_has_separators():
    """Ten million packets per second."""
    line = summary(LAYOUT, snapshot((10**7, *COUNTS[1:]), seconds=1), None)

    assert rate(line) == "10,000,000.00 pps"


def test_large_counts_are_exact():
    """2^64-1 is written to the last digit."""
    line = summary(LAYOUT, snapshot((2**64 - 1,) * 8), None)

    assert line.startswith("Total: 18,446,744,073,709,551,615 pkts, 18,446,744,073,709,551,615 bytes | ")


def test_entries_are_added_up():
    """A map of several keys has one line."""
    sums = field_sums(LAYOUT, snapshot(COUNTS, COUNTS, COUNTS))

    assert tuple(sums.values()) == tuple(3 * count for count in COUNTS)
    assert list(sums) == [field.name for field in LAYOUT.fields]
