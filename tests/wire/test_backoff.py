# SPDX-License-Identifier: Apache-2.0
"""When a batch is retried: exponential backoff with a cap, unless the Collector asks for a delay."""

from itertools import pairwise

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode


def test_retries_back_off_to_half_a_minute_and_never_stop(world):
    """A retry between two cycles does not read the maps again."""
    world.collector.will(StatusCode.UNAVAILABLE, times=1000)
    times = world.attempt_times
    world.clock.stop_at = 1000
    world.pipeline.run(300)
    pauses = [after - before for before, after in pairwise(times[:-1])]

    assert 0.5 <= pauses[0] <= 1.0
    assert all(15 <= pause <= 30 for pause in pauses[6:])
    assert len(pauses) > 30


def retry_info(seconds):
    """The trailer with which a Collector asks for a delay."""
    info, status = RetryInfo(), Status()
    info.retry_delay.seconds = seconds
    status.details.add().Pack(info)
    return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.mark.parametrize("seconds", [3, 120])
def test_retry_info_sets_the_delay(world, seconds):
    """RetryInfo is obeyed to the second, whether sooner or later than the backoff."""
    world.collector.will(StatusCode.RESOURCE_EXHAUSTED, trailers=retry_info(seconds), times=1000)
    times = world.attempt_times
    world.clock.stop_at = 1000
    world.pipeline.run(5000)

    assert times[:4] == [0, seconds, 2 * seconds, 3 * seconds]


def test_retry_info_of_zero_does_not_flood_the_collector(world):
    """At least a few milliseconds pass between two attempts."""
    world.collector.will(StatusCode.RESOURCE_EXHAUSTED, trailers=retry_info(0), times=1000)
    times, push = world.attempt_times, world.pusher.push

    def push_or_fail(request, *, timeout_s=None):
        assert len(times) < 100, "attempts without a pause"
        return push(request, timeout_s=timeout_s)

    world.pusher.push = push_or_fail
    world.clock.stop_at = 5
    world.pipeline.run(10)

    assert len(times) > 2
