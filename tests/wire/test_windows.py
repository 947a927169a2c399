# SPDX-License-Identifier: Apache-2.0
"""Which windows a cycle exports: adjacent, exact, and none for a source that cannot be read."""

from tests.wire.books import windows
from tests.wire.world import BIRTH


def test_the_first_window_starts_when_the_map_was_created(world):
    """One cycle, one request, all counts: the window runs from the creation of the map to now."""
    world.source.count(7)
    world.cycle()
    ((window,),) = windows(world.collector)

    assert world.counted == world.source.truth
    assert (window.start_ns, window.end_ns, window.count) == (BIRTH, world.clock.wall_ns, 7)


def test_windows_are_adjacent(world):
    """Each starts where the previous one ended and holds what was counted in between."""
    for packets in (5, 0, 9):
        world.source.count(packets)
        world.cycle()
    (found,) = windows(world.collector)

    assert [window.count for window in found] == [5, 0, 9]
    assert [window.start_ns for window in found] == [BIRTH, *(window.end_ns for window in found[:-1])]


def test_points_carry_the_attributes_of_their_source(world):
    """Two interfaces are two streams in one request."""
    world.add_source("eth1")
    for packets, source in enumerate(world.sources, start=3):
        source.count(packets)
    world.cycle()

    assert len(world.collector.calls) == 1
    assert world.collector.total("xdp.packets.tcp", **{"network.interface.name": "eth0"}) == 3
    assert world.collector.total("xdp.packets.tcp", **{"network.interface.name": "eth1"}) == 4


def test_a_source_that_cannot_be_read_exports_nothing(world, caplog):
    """No zeros either; its next window covers the gap."""
    other = world.add_source("eth1")
    for packets, unreadable in ((3, False), (4, True), (5, False)):
        other.unreadable = unreadable
        for source in world.sources:
            source.count(packets)
        world.cycle()
    counts = {
        dict(at)["network.interface.name"]: [window.count for window in found]
        for (_, name, at), found in world.collector.windows.items()
        if name == "xdp.packets.total"
    }

    assert counts == {"eth0": [3, 4, 5], "eth1": [3, 9]}
    assert "read map: EPERM: try again" in caplog.text


def test_nothing_is_sent_if_no_source_can_be_read(world):
    """No empty request and no batch."""
    world.source.unreadable = True
    world.cycle()

    assert world.collector.calls == []
