# SPDX-License-Identifier: Apache-2.0
"""What a refusal costs: nothing with a base point or before the first success, else one batch."""

import re
import shutil

import pytest
from grpc import StatusCode
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar.model import Temporality
from tests.wire.books import windows
from tests.wire.world import World

REFUSALS = [
    StatusCode.INVALID_ARGUMENT,
    StatusCode.UNAUTHENTICATED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
]


def refused_for_an_hour(world, code, *, counts):
    """Count in each cycle while the Collector accepts, then refuses for an hour, then accepts again."""
    for cycle in range(380):
        if cycle == 3:
            world.collector.will(code, counts=counts, times=10_000)
        if cycle == 363:
            world.collector.will_be_fine()
        world.source.count(7)
        world.cycle()


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("code", REFUSALS)
def test_with_a_base_point_a_refusal_costs_nothing(collector, state_dir, code, counts):
    """A receiver that drops duplicates gets the same bytes again, however long it takes."""
    with World(collector, state_dir, temporality=Temporality.DELTA_WITH_BASE) as world:
        refused_for_an_hour(world, code, counts=counts)
        refused = world.collector.bodies[3:-20]

        assert len(refused) > 100
        assert len(set(refused)) == 1
        assert world.counted == world.source.truth


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("code", REFUSALS)
def test_in_plain_delta_an_hour_of_refusals_costs_one_batch(world, code, counts, caplog):
    """The batch is given up with its counts; those of the hour wait until a probe is acknowledged."""
    refused_for_an_hour(world, code, counts=counts)

    assert "given up, since it may have been counted" in caplog.text
    assert len(set(world.collector.bodies)) == len(world.collector.bodies)
    assert len(world.collector.bodies) < 20 + 360 * 10 / 15
    assert world.counted["total_packets"] == world.source.truth["total_packets"] - (0 if counts else 7)


def test_a_refusal_survives_a_restart(world):
    """The specification forbids a resend, and a new process must not risk another batch."""
    world.source.count(7)
    world.collector.will(StatusCode.INTERNAL, times=3)
    for _ in range(3):
        world.cycle()
        world.restart()
        world.source.count(4)
    world.cycle()

    assert len(set(world.collector.bodies)) == len(world.collector.bodies)
    assert world.counted["total_packets"] == world.source.truth["total_packets"] - 7


@pytest.mark.parametrize("code", REFUSALS)
def test_a_collector_that_has_always_refused_costs_nothing(collector, state_dir, code):
    """A wrong token must not lose what counted for days: a probe goes first, after every restart."""
    with World(collector, state_dir, known=False) as world:
        for _ in range(3):
            world.source.count(7)
            world.collector.will(code, times=4)
            world.cycle()
            world.cycle()
            world.restart()
        world.collector.will_be_fine()
        world.cycle(after_s=60)

        assert world.counted == world.source.truth


def test_a_failed_first_start_can_be_repeated_from_scratch(collector, state_dir):
    """After a wrong token, deleting the state directory recovers everything the map counted."""
    with World(collector, state_dir, known=False) as world:
        world.source.count(7)
        collector.will(StatusCode.UNAUTHENTICATED)
        world.cycle()
        world.end()
        shutil.rmtree(state_dir)
        world.start()
        world.cycle()

        assert world.counted == world.source.truth


@pytest.mark.parametrize("code", REFUSALS)
def test_a_batch_refused_after_a_lost_response_counts_once(world, code):
    """What the first attempt counted is not counted again with the next batch."""
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE, counts=True)
    world.collector.will(code)
    world.cycle()
    world.source.count(4)
    world.cycle(after_s=60)
    world.cycle()

    assert world.counted == world.source.truth


def test_a_batch_too_large_for_the_receiver_is_split(collector, state_dir, monkeypatch):
    """The same points in smaller requests; later requests stay below the size that was accepted."""
    monkeypatch.setattr("sidecar.delivery.SMALLEST_BYTES", 600)
    with World(collector, state_dir, temporality=Temporality.DELTA_WITH_BASE) as world:
        world.source.count(7)
        world.cycle()
        collector.will(StatusCode.RESOURCE_EXHAUSTED, times=2)
        for _ in range(4):
            world.source.count(4)
            world.cycle(after_s=60)
        whole = len(world.collector.bodies[0])

        assert max(len(body) for body in world.collector.bodies[-5:]) < whole / 2
        assert world.counted == world.source.truth


def test_rejected_points_are_logged_and_not_resent(world, caplog):
    """A partial success is an acknowledgement."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = 2
    response.partial_success.error_message = "too many"
    world.source.count(7)
    world.collector.will(body=response.SerializeToString())
    world.cycle()
    world.source.count(4)
    world.cycle()

    assert re.search("refused 2 points.*: too many", caplog.text)
    assert [window.count for window in windows(world.collector)[0]] == [7, 4]
