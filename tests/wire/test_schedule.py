# SPDX-License-Identifier: Apache-2.0
"""When cycles run: one per interval, one with --once, and a last one at shutdown."""

import time

import pytest
from grpc import StatusCode
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar import pipeline
from sidecar.errors import KernelError, NotAcknowledgedError, SourceError
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


@pytest.mark.parametrize("unreadable", [0, 1])
def test_once_sends_what_it_can_and_fails_for_the_rest(world, unreadable):
    """One of two maps cannot be read: the other is delivered, and the command still fails."""
    world.add_source("eth1")
    for number, source in enumerate(world.sources):
        source.count(3 + number)
    world.sources[unreadable].unreadable = True
    with pytest.raises(KernelError, match="cannot read map: EPERM: try again"):
        world.pipeline.once()

    assert world.counted == world.sources[1 - unreadable].truth


def test_once_fails_if_a_source_cannot_be_encoded(world):
    """The other one is delivered."""
    world.add_source("eth1").count(3)
    world.source.set(2**63)
    with pytest.raises(SourceError, match="cannot encode field total_packets: "):
        world.pipeline.once()

    assert world.counted == world.sources[1].truth


def test_once_fails_if_the_collector_refuses_points(world):
    """A partial success is not all."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = 2
    response.partial_success.error_message = "too old"
    world.collector.will(body=response.SerializeToString())
    world.source.count(3)
    with pytest.raises(NotAcknowledgedError, match=r"all of batch 1: .* refused 2 points: too old"):
        world.pipeline.once()


def test_a_source_that_is_not_read_or_not_sent_is_not_ready(world):
    """The status endpoint has the source and the cause; once all are well again, it is ready."""
    other = world.add_source("eth1")
    world.source.set(2**63)
    world.cycle()
    assert [*world.telemetry.troubles] == [world.source.name]
    assert not world.telemetry.ready
    world.source.set(7)
    other.unreadable = True
    world.cycle()
    assert world.telemetry.troubles == {other.name: "cannot read map: EPERM: try again"}
    other.unreadable = False
    world.cycle()

    assert (world.telemetry.ready, world.telemetry.troubles) == (True, {})


def test_a_stale_source_is_sent_and_not_ready(world):
    """Its counts are exact; they are only not all that there is."""
    world.source.stale = "no program uses the map any more"
    world.source.count(3)
    world.cycle()
    assert world.counted == world.source.truth
    assert world.telemetry.troubles == {world.source.name: f"stale: {world.source.stale}"}
    assert world.telemetry.stale == {world.source.name: True}
    world.source.stale = ""
    world.cycle()

    assert world.telemetry.ready
    assert world.telemetry.stale == {world.source.name: False}


def test_a_journal_that_cannot_be_written_is_not_ready(world):
    """Whatever the sources do."""
    world.break_disk()
    world.cycle()

    assert [*world.telemetry.troubles] == ["journal"]
