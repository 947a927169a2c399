# SPDX-License-Identifier: Apache-2.0
"""Values that are no counters, and clocks that jump, break neither a cycle nor a rate."""

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sidecar.commands.top import _Watched
from sidecar.kinds import Kind
from tests.wire.world import SECOND, Clock, Source


def test_a_map_without_counters_does_not_end_the_sidecar(world):
    """Values that keep jumping are counted as far as possible, or rejected in the log."""
    for _ in range(6):
        world.source.set(2**62)
        world.cycle()
        world.source.set(0)
        world.cycle()

    assert world.collector.calls


def test_a_count_beyond_the_range_of_otlp_is_not_sent(world, caplog):
    """Each cycle names it in the log, and nothing wrong is sent."""
    world.source.set(2**63)
    world.cycle()

    assert world.collector.calls == []
    assert "encode field total_packets: " in caplog.text


@pytest.mark.parametrize("step_s", [-3600, -9, 3600])
def test_a_step_of_the_wall_clock_does_not_distort_a_rate(world, step_s):
    """Ten packets a second stay ten, on the wire and on the status page, even in windows of 1 ns."""
    rates = []
    for at in range(6):
        if at == 2:
            world.clock.wall_ns += step_s * SECOND
        world.source.count(100)
        world.cycle()
        ((schema, (series,)),) = world.pipeline._telemetry.sources
        (place,) = (place for place, declared in schema.positions if declared.kind is Kind.RATE)
        rates.append(series.rate(place))
    sent = [
        metric.gauge.data_points[0].as_double
        for call in world.collector.calls
        for metric in ExportMetricsServiceRequest.FromString(call.body)
        .resource_metrics[0]
        .scope_metrics[0]
        .metrics
        if metric.name == "xdp.packets.rate"
    ]

    assert rates[1:] == [10.0] * 5
    assert sent == rates
    assert world.counted == world.source.truth


def test_a_step_of_the_wall_clock_does_not_distort_a_rate_in_top():
    """`top` divides by the monotonic time that passed."""
    clock = Clock()
    source = Source(clock)
    watched = _Watched(source)
    for step_s in (0, -3600, -9, 3600):
        clock.wait(10)
        clock.wall_ns += step_s * SECOND

        assert watched.turn().seconds == 10.0
