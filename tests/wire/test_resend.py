# SPDX-License-Identifier: Apache-2.0
"""An unacknowledged batch is sent again, byte for byte, and counts once."""

import pytest
from grpc import StatusCode

from sidecar.otlp import message
from tests.wire.books import windows
from tests.wire.world import SECOND


@pytest.mark.parametrize("counts", [True, False])
def test_an_unacknowledged_batch_is_resent_unchanged(world, counts):
    """The same bytes, whatever was counted meanwhile, and whether or not the lost call was counted."""
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE, counts=counts)
    world.cycle()
    world.source.count(4)
    world.cycle(after_s=60)
    first, again, following = world.collector.bodies

    assert first == again
    assert following != first
    assert world.counted == world.source.truth


@pytest.mark.parametrize("counts", [True, False])
def test_a_batch_of_several_requests_is_acknowledged_as_a_whole(world, monkeypatch, counts):
    """If the second response is lost, both requests are resent unchanged, and all of it counts once."""
    monkeypatch.setattr(message, "POINTS_PER_REQUEST", 1)
    world.add_source("eth1")
    for packets, source in enumerate(world.sources, start=3):
        source.count(packets)
    world.collector.will()
    world.collector.will(StatusCode.UNAVAILABLE, counts=counts)
    world.cycle()
    world.restart()
    world.cycle(after_s=0.001)
    bodies = world.collector.bodies

    assert bodies[0:2] == bodies[2:4]
    assert bodies[0] != bodies[1]
    assert world.counted["total_packets"] == 3 + 4


@pytest.mark.parametrize("counts", [True, False])
def test_an_unacknowledged_batch_is_resent_after_a_restart(world, counts):
    """The next process finds it in the journal and sends the same bytes first."""
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE, counts=counts)
    world.cycle()
    world.source.count(4)
    world.restart()
    world.cycle(after_s=0.001)
    first, again, _ = world.collector.bodies

    assert first == again
    assert world.counted == world.source.truth


def test_an_acknowledged_batch_is_not_resent_after_a_restart(world):
    """The mark in the journal holds; the next window starts where the last one ended."""
    world.source.count(7)
    world.cycle()
    world.restart()
    world.source.count(2)
    world.cycle()
    (found,) = windows(world.collector)

    assert len(world.collector.calls) == 2
    assert [window.count for window in found] == [7, 2]
    assert found[1].start_ns == found[0].end_ns


def test_an_outage_of_any_length_takes_two_batches(world):
    """After an hour, one batch is resent and one more covers all the rest."""
    world.source.count(1)
    world.collector.will(StatusCode.UNAVAILABLE, times=1000)
    for _ in range(360):
        world.cycle()
        world.source.count(1)
    attempts = set(world.collector.bodies)
    world.collector.will_be_fine()
    world.cycle(after_s=60)
    (found,) = windows(world.collector)

    assert len(attempts) == 1
    assert [window.count for window in found] == [1, 360]
    assert found[1].end_ns - found[0].end_ns > 3600 * SECOND
    assert world.counted == world.source.truth


def test_the_journal_does_not_grow_during_an_outage(world, state_dir):
    """It holds one batch and the last reading, not a queue."""
    world.collector.will(StatusCode.UNAVAILABLE, times=100)
    sizes = []
    for _ in range(20):
        world.source.count(1)
        world.cycle()
        sizes.append(sum(path.stat().st_size for path in state_dir.iterdir()))

    assert sizes[-1] - sizes[2] < 100
