# SPDX-License-Identifier: Apache-2.0
"""When cycles run: one per interval, one with --once, and a last one at shutdown."""

import time

import pytest
from grpc import StatusCode

from sidecar import pipeline
from sidecar.errors import KernelError, NotAcknowledgedError
from tests.wire.books import windows


def test_a_cycle_runs_each_interval_and_once_more_at_shutdown(world):
    """Stopped between two cycles, it sends what has been counted since, with a short timeout."""
    world.clock.events = [(at, world.source.count) for at in (5, 15, 25, 28)]
    world.clock.stop_at = 29
    world.pipeline.run(10)
    (found,) = windows(world.collector)

    assert [window.count for window in found] == [0, 1, 1, 2]
    assert world.counted == world.source.truth
    assert world.timeouts[-1] == pipeline.LAST_TIMEOUT_S


def test_a_missed_cycle_is_not_caught_up(world):
    """After a long call the next cycle runs at once, then one per interval."""
    times, push = world.attempt_times, world.pusher.push

    def slow(request, *, timeout_s=None):
        outcome = push(request, timeout_s=timeout_s)
        world.clock.monotonic_s += 35 if len(times) == 1 else 0
        return outcome

    world.pusher.push = slow
    world.clock.stop_at = 60
    world.pipeline.run(10)

    assert times == [0, 35, 45, 55, 60]


def test_shutdown_during_an_outage_sends_both_batches(world):
    """First the batch in flight, then what was counted since; everything counts once."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE)
    world.clock.events = [(0.2, world.source.count)]
    world.clock.stop_at = 0.3
    world.pipeline.run(10)

    assert len(world.collector.calls) == 3
    assert world.counted == world.source.truth


def test_shutdown_without_a_collector_leaves_the_rest_to_the_next_process(world):
    """No wait and no loss."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE, times=2)
    world.clock.events = [(5, world.source.count)]
    world.clock.stop_at = 6
    world.pipeline.run(10)
    world.clock.stop_at = float("inf")
    world.restart()
    world.cycle()

    assert world.counted == world.source.truth


def test_shutdown_between_two_calls_does_not_start_a_long_one(world):
    """After SIGTERM during a read, the rest must fit into the remaining 5 s."""
    read = world.source.read

    def read_and_stop():
        world.clock.stop_at = world.clock.now()
        world.pusher.interrupt()
        return read()

    world.source.read = read_and_stop
    world.collector.will(hangs=True)
    before = time.monotonic()
    world.pipeline.run(10)

    assert time.monotonic() - before < 4


def test_once_sends_the_pending_batch_and_the_current_counts(world):
    """A single cycle ends with everything acknowledged."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE)
    with pytest.raises(
        NotAcknowledgedError, match=r"^cannot send batch 1: UNAVAILABLE: .*; the batch is kept$"
    ):
        world.pipeline.once()
    world.source.count(4)
    world.restart()
    world.pipeline.once()

    assert [window.count for window in windows(world.collector)[0]] == [3, 4]


def test_once_fails_if_a_map_cannot_be_read(world):
    """The source's error becomes the command's; nothing is sent."""
    world.source.unreadable = True
    with pytest.raises(KernelError, match="cannot read map: EPERM: try again"):
        world.pipeline.once()

    assert world.collector.calls == []
