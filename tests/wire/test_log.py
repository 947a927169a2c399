# SPDX-License-Identifier: Apache-2.0
"""What an operator reads: one line a minute with what was delivered, and each change of state at once."""

import logging
import random

import pytest
from grpc import StatusCode

from sidecar.log_fields import text_of
from sidecar.otlp.outcome import Nowhere
from sidecar.pipeline import Pipeline
from tests.wire.world import RESOURCE

INTERVAL_S = 10.0


@pytest.fixture
def lines(caplog):
    """Return a function that returns what was logged since its last call, from a level on."""
    caplog.set_level(logging.DEBUG)

    def since(level=logging.INFO):
        records = [record for record in caplog.records if record.name.startswith("sidecar")]
        found = [text_of(record) for record in records if record.levelno >= level]
        caplog.clear()
        return found

    return since


def delivered(packets, rate, *, verb="delivered", pending="none", points=9):
    return (
        f"interface:eth0: {verb} {packets:,} pkts, {100 * packets:,} bytes | IPv4: {packets:,}, IPv6: 0 | "
        f"TCP: {packets:,}, UDP: 0, ICMP: 0, Other: 0 | Rate: {rate} pps | "
        f"{points} points | pending: {pending}"
    )


def cycles(world, number, packets=100):
    for _ in range(number):
        world.source.count(packets)
        world.cycle(INTERVAL_S)


def test_the_first_delivery_is_logged_at_once_and_then_one_line_a_minute(world, lines):
    """Each has what the Collector acknowledged since the line before it."""
    cycles(world, 1, packets=1100)
    assert lines() == [delivered(1100, "10.00")]

    cycles(world, 5)
    assert lines() == []

    cycles(world, 1)
    assert lines() == [delivered(600, "10.00", points=54)]

    cycles(world, 12)
    assert lines() == [delivered(600, "10.00", points=54)] * 2


def test_the_first_points_of_a_source_are_logged_at_once(world, lines):
    """Another source was delivered, and this one could not be read."""
    world.add_source("eth1")
    world.sources[1].unreadable = True
    cycles(world, 1)
    assert [line for line in lines() if "delivered" in line] == [
        delivered(100, "0.91"),
        "interface:eth1: delivered nothing | pending: none",
    ]

    world.sources[1].unreadable = False
    cycles(world, 1)
    assert [line.partition(" pkts")[0] for line in lines() if "delivered" in line] == [
        "interface:eth1: delivered 0"
    ]
    cycles(world, 5)
    assert [line.partition(" pkts")[0] for line in lines() if "delivered" in line] == [
        "interface:eth0: delivered 600",
        "interface:eth1: delivered 0",
    ]


def test_each_cycle_is_logged_for_debugging(world, lines):
    """What the map holds, even while the Collector is unreachable."""
    world.collector.will(StatusCode.UNAVAILABLE, times=10)
    cycles(world, 3, packets=1000)

    assert [line for line in lines(logging.DEBUG) if "Total: " in line] == [
        f"interface:eth0: Total: {n},000 pkts, {n}00,000 bytes | IPv4: {n},000, IPv6: 0 | "
        f"TCP: {n},000, UDP: 0, ICMP: 0, Other: 0 | Rate: {rate} pps"
        for n, rate in ((1, "9.09"), (2, "100.00"), (3, "100.00"))
    ]


def test_an_outage_is_logged_when_it_begins_each_minute_and_when_it_ends(world, lines, monkeypatch):
    """With the age of what is pending; nothing is delivered until the end, and then all of it."""
    # The pauses are drawn otherwise, and a second repetition may just fall due.
    monkeypatch.setattr(random, "uniform", lambda shortest, _: shortest)
    cycles(world, 1)
    lines()
    world.collector.will(StatusCode.UNAVAILABLE, "no", times=1000)
    cycles(world, 13)
    during = lines()
    world.collector.will_be_fine()
    cycles(world, 20)
    after = lines()

    cause = "batch 2 not acknowledged: UNAVAILABLE: no: see the Collector's log; kept until it is"
    assert during[0] == cause
    assert [line.partition(" tries): ")[2] for line in during if line.startswith("still (")] == [cause]
    assert [line for line in during if " nothing " in line] == [
        f"interface:eth0: delivered nothing | pending: {seconds} s" for seconds in (50, 110)
    ]
    assert len(during) == 4
    assert after[0].startswith("batch 2 acknowledged (after 2 min, ")
    assert next(line for line in after if " delivered " in line).startswith(
        "interface:eth0: delivered 1,800 pkts"
    )
    assert not [line for line in after[1:] if " delivered " not in line]


def test_another_reason_is_logged_at_once(world, lines):
    """The text of the Collector is part of it."""
    world.collector.will(StatusCode.UNAVAILABLE, "no", times=1)
    world.cycle()
    world.collector.will(StatusCode.UNAVAILABLE, "busy", times=1000)
    world.cycle()
    world.cycle()

    assert ["busy" in line for line in lines() if "not acknowledged" in line] == [False, True]


def test_a_source_that_cannot_be_read_is_logged_until_it_is_read_again(world, lines):
    """Each line has its name, also while all others are well."""
    world.add_source("eth1")
    world.cycle()
    lines()
    world.source.unreadable = True
    for _ in range(7):
        world.cycle()
    world.source.unreadable = False
    world.cycle()

    assert [line for line in lines() if "delivered" not in line] == [
        "interface:eth0: cannot read map: EPERM: try again",
        "interface:eth0: still (60 s, 7 tries): cannot read map: EPERM: try again",
        "interface:eth0: read again (after 70 s, 7 tries)",
    ]


def test_a_journal_that_cannot_be_written_is_logged_until_it_can(world, lines):
    """Nothing is sent meanwhile."""
    world.cycle()
    lines()
    world.break_disk()
    for _ in range(7):
        world.cycle()
    world.mend_disk()
    world.cycle()
    found = [line for line in lines() if "delivered" not in line]

    assert len(found) == 3
    assert found[0].startswith("cannot write journal ")
    assert found[1] == f"still (60 s, 7 tries): {found[0]}"
    assert found[2] == "batches are journaled again (after 70 s, 7 tries)"


def test_a_map_that_is_reset_again_and_again_is_one_line_a_minute(world, lines):
    """Some programs zero it after they have read it."""
    world.cycle()
    for value in range(1000, 987, -1):
        world.source.set(value)
        world.cycle()
    found = [line for line in lines() if "reset" in line]

    reset = "entry 0x00000000 was reset: another process wrote to the map"
    assert found == [
        f"interface:eth0: {reset}",
        f"interface:eth0: still (60 s, 7 tries): {reset}",
    ]


def test_the_end_has_the_totals(world, lines):
    """All that the process delivered, and the last cycle with it."""
    cycles(world, 3)
    world.source.count(100)
    lines()
    world.clock.stop_at = 0
    world.pipeline.run(INTERVAL_S)
    found = lines()

    assert found[-1] == delivered(400, "3.08", verb="delivered in total", points=45)


@pytest.mark.parametrize("refuse", [False, True])
def test_one_cycle_has_the_totals(world, lines, refuse):
    """`--once` logs no other line of counts."""
    world.source.count(7)
    if refuse:
        world.collector.will(StatusCode.UNAVAILABLE, times=1000)
        with pytest.raises(Exception, match="cannot send batch 1"):
            world.pipeline.once()
        expected = "interface:eth0: delivered in total nothing | pending: 0 s"
    else:
        world.pipeline.once()
        expected = delivered(7, "0.07", verb="delivered in total")

    assert [line for line in lines() if "delivered" in line] == [expected]


def test_without_a_collector_the_lines_have_what_the_maps_hold(world, lines):
    """Nothing is delivered, so nothing is called that."""
    world.delivery._pusher = Nowhere()
    world.pipeline = Pipeline(
        world.sources, RESOURCE, world._temporality, world.delivery, world.clock, delivers=False
    )
    cycles(world, 7)

    assert [line.partition(" pkts")[0] for line in lines()] == [
        "interface:eth0: Total: 100",
        "interface:eth0: Total: 700",
    ]
