# SPDX-License-Identifier: Apache-2.0
"""The pipeline with its real journal and its real gRPC; only the kernel's maps and the clock are made up."""

import logging
import re
import shutil
import time
from itertools import pairwise

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from sidecar import pipeline
from sidecar.commands.top import _Watched
from sidecar.errors import KernelError, NotAcknowledgedError
from sidecar.kernel import reported
from sidecar.kinds import Kind
from sidecar.model import Temporality
from sidecar.otlp import encode, message
from tests.wire.books import windows
from tests.wire.world import BIRTH, SECOND, Clock, Source, World


@pytest.fixture(autouse=True)
def bpffs(tmp_path, monkeypatch):
    """A directory in the place of bpffs, which needs root."""
    monkeypatch.setattr(reported, "PIN_ROOT", tmp_path / "bpffs")
    return tmp_path / "bpffs"


@pytest.fixture
def world(collector, state_dir):
    """A world in which the process runs."""
    with World(collector, state_dir) as running:
        yield running


def test_the_first_batch_has_everything_since_the_birth_of_the_map(world):
    """One cycle, one request, all counts, the window from birth to now."""
    world.source.count(7)
    world.cycle()
    ((window,),) = windows(world.collector)

    assert world.counted == world.source.truth
    assert (window.start_ns, window.end_ns, window.count) == (BIRTH, world.clock.wall_ns, 7)


def test_windows_touch(world):
    """Each starts where the one before ended, and has what was counted in it."""
    for packets in (5, 0, 9):
        world.source.count(packets)
        world.cycle()
    (found,) = windows(world.collector)

    assert [window.count for window in found] == [5, 0, 9]
    assert [window.start_ns for window in found] == [BIRTH, *(window.end_ns for window in found[:-1])]


def test_points_carry_the_attributes_of_their_source(world):
    """Two interfaces are two streams, in one request."""
    world.sources.append(Source(world.clock, "interface:eth1", (("network.interface.name", "eth1"),)))
    for packets, source in enumerate(world.sources, start=3):
        source.count(packets)
    world.cycle()

    assert len(world.collector.calls) == 1
    assert world.collector.total("xdp.packets.tcp", **{"network.interface.name": "eth0"}) == 3
    assert world.collector.total("xdp.packets.tcp", **{"network.interface.name": "eth1"}) == 4


@pytest.mark.parametrize("counts", [True, False])
def test_an_unacknowledged_batch_is_sent_again_as_it_was(world, counts):
    """The same bytes, however much was counted meanwhile; whether the lost answer was a yes or a no."""
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
def test_a_batch_of_several_requests_is_acknowledged_as_one(world, monkeypatch, counts):
    """If the answer to the second is lost, both are sent again, as they were; all of it counts once."""
    monkeypatch.setattr(message, "POINTS_PER_REQUEST", 1)
    world.sources.append(Source(world.clock, "interface:eth1", (("network.interface.name", "eth1"),)))
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
def test_an_unacknowledged_batch_is_sent_again_after_a_restart(world, counts):
    """The next process finds it in the journal and begins with it, the same bytes."""
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE, counts=counts)
    world.cycle()
    world.source.count(4)
    world.restart()
    world.cycle(after_s=0.001)
    first, again, _ = world.collector.bodies

    assert first == again
    assert world.counted == world.source.truth


def test_an_acknowledged_batch_is_not_sent_again_after_a_restart(world):
    """The mark holds; the next window starts where the last one ended."""
    world.source.count(7)
    world.cycle()
    world.restart()
    world.source.count(2)
    world.cycle()
    (found,) = windows(world.collector)

    assert len(world.collector.calls) == 2
    assert [window.count for window in found] == [7, 2]
    assert found[1].start_ns == found[0].end_ns


def test_one_batch_at_a_time_and_one_delta_for_a_long_outage(world):
    """An outage of an hour leaves one batch to send again, and then one that covers all the rest."""
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


def test_an_outage_takes_no_more_room_the_longer_it_lasts(world, state_dir):
    """The journal holds one batch and the last reading, not a queue."""
    world.collector.will(StatusCode.UNAVAILABLE, times=100)
    sizes = []
    for _ in range(20):
        world.source.count(1)
        world.cycle()
        sizes.append(sum(path.stat().st_size for path in state_dir.iterdir()))

    assert sizes[-1] - sizes[2] < 100


def test_attempts_come_ever_more_rarely_but_never_stop(world):
    """The pauses grow to half a minute at most, and a retry between two cycles has no reading of its own."""
    world.collector.will(StatusCode.UNAVAILABLE, times=1000)
    times = []
    world.pusher.push = _noting(world, times)
    world.clock.stop_at = 1000
    world.pipeline.run(300)
    pauses = [after - before for before, after in pairwise(times[:-1])]

    assert 0.5 <= pauses[0] <= 1.0
    assert all(15 <= pause <= 30 for pause in pauses[6:])
    assert len(pauses) > 30


def _noting(world, times):
    push = world.pusher.push

    def note(request, *, timeout_s=None):
        times.append(world.clock.now())
        return push(request, timeout_s=timeout_s)

    return note


def retry_info(seconds):
    """The trailer by which a Collector says when to come back."""
    info, status = RetryInfo(), Status()
    info.retry_delay.seconds = seconds
    status.details.add().Pack(info)
    return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.mark.parametrize("seconds", [3, 120])
def test_the_collector_says_when_to_come_back(world, seconds):
    """RetryInfo is obeyed to the second, be it sooner or later than we would have come."""
    world.collector.will(StatusCode.RESOURCE_EXHAUSTED, trailers=retry_info(seconds), times=1000)
    times = []
    world.pusher.push = _noting(world, times)
    world.clock.stop_at = 1000
    world.pipeline.run(5000)

    assert times[:4] == [0, seconds, 2 * seconds, 3 * seconds]


def test_a_collector_that_wants_no_pause_is_not_run_over(world):
    """RetryInfo of zero: at least some milliseconds pass between two attempts."""
    world.collector.will(StatusCode.RESOURCE_EXHAUSTED, trailers=retry_info(0), times=1000)
    times = []
    push = _noting(world, times)

    def push_or_fail(request, *, timeout_s=None):
        assert len(times) < 100, "attempts without a pause"
        return push(request, timeout_s=timeout_s)

    world.pusher.push = push_or_fail
    world.clock.stop_at = 5
    world.pipeline.run(10)

    assert len(times) > 2


def test_nothing_is_sent_that_is_not_written_down(world, caplog):
    """Without the journal the counts stay in the kernel; when it is back, they go out, all of them."""
    world.source.count(3)
    world.cycle()
    world.break_disk()
    for _ in range(3):
        world.source.count(5)
        world.cycle()
    sent = len(world.collector.calls)
    world.mend_disk()
    world.cycle()

    assert sent == 1
    assert "write journal" in caplog.text
    assert [window.count for window in windows(world.collector)[0]] == [3, 15]
    assert world.counted == world.source.truth


def test_an_acknowledgement_that_cannot_be_marked_is_still_one(world, caplog):
    """It is remembered while the process lives; a restart would send the same bytes, which count once."""
    world.source.count(3)
    push = world.pusher.push
    world.pusher.push = lambda *arguments, **options: (push(*arguments, **options), world.break_disk())[0]
    world.cycle()
    sent_once = len(world.collector.calls)
    world.source.count(2)
    world.restart()
    world.cycle()
    first, again, _ = world.collector.bodies

    assert "write journal" in caplog.text
    assert sent_once == 1
    assert first == again
    assert world.counted == world.source.truth


# What a Collector answers, after counting or not: also for an exporter behind it, or gRPC in its place.
REFUSALS = [
    StatusCode.INVALID_ARGUMENT,
    StatusCode.UNAUTHENTICATED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
]


def refused_for_an_hour(world, code, *, counts):
    """Count in each cycle; at first all is well, then all is refused, then all is well again."""
    for cycle in range(380):
        if cycle == 3:
            world.collector.will(code, counts=counts, times=10_000)
        if cycle == 363:
            world.collector.will_be_fine()
        world.source.count(7)
        world.cycle()


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("code", REFUSALS)
def test_with_base_points_a_refusal_costs_nothing(collector, state_dir, code, counts):
    """A receiver that drops what it knows gets the same bytes again, however long it takes."""
    with World(collector, state_dir, temporality=Temporality.DELTA_WITH_BASE) as world:
        refused_for_an_hour(world, code, counts=counts)
        refused = world.collector.bodies[3:-20]

        assert len(refused) > 100
        assert len(set(refused)) == 1
        assert world.counted == world.source.truth


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("code", REFUSALS)
def test_in_plain_delta_an_hour_of_refusals_costs_one_batch(world, code, counts, caplog):
    """It is not sent again, nor are its counts; those of the hour wait until a probe is acknowledged."""
    refused_for_an_hour(world, code, counts=counts)

    assert "given up, since it may have been counted" in caplog.text
    assert len(set(world.collector.bodies)) == len(world.collector.bodies)
    assert len(world.collector.bodies) < 20 + 360 * 10 / 15
    assert world.counted["total_packets"] == world.source.truth["total_packets"] - (0 if counts else 7)


def test_a_refusal_is_remembered_over_a_restart(world):
    """The specification forbids to send the same again, and a new process is no excuse to risk more."""
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
def test_a_collector_that_refuses_from_the_first_day_on_costs_nothing(collector, state_dir, code):
    """What counted for days is not lost to a wrong token: a probe comes first, however often we restart."""
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


def test_a_first_try_that_failed_can_be_begun_anew(collector, state_dir):
    """Whoever clears away the state directory after a wrong token finds all that the map counted."""
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
def test_a_refusal_after_a_lost_answer_may_have_been_counted(world, code):
    """What was counted at the first attempt is not counted again with the next batch."""
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE, counts=True)
    world.collector.will(code)
    world.cycle()
    world.source.count(4)
    world.cycle(after_s=60)
    world.cycle()

    assert world.counted == world.source.truth


def test_what_is_too_large_for_the_receiver_is_packed_into_smaller_requests(
    collector, state_dir, monkeypatch
):
    """The same points; and from then on no request is larger than what was taken."""
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


def test_partial_success_moves_on(world, caplog):
    """What the Collector refused of a batch is said, and not sent again."""
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


def test_a_source_that_cannot_be_read_sends_nothing(world, caplog):
    """Neither zeros nor anything else; its next window covers the time."""
    other = Source(world.clock, "interface:eth1", (("network.interface.name", "eth1"),))
    world.sources.append(other)
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


def test_if_no_source_can_be_read_nothing_is_sent(world):
    """No empty request, no batch."""
    world.source.unreadable = True
    world.cycle()

    assert world.collector.calls == []


def test_an_old_map_is_held_until_its_last_counts_are_acknowledged(world):
    """Only then may the source let it go."""
    world.source.count(3)
    world.cycle()
    world.source.count(5)
    world.source.replace()
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE)
    world.cycle()
    early = len(world.source.read())
    world.cycle(after_s=60)

    assert (early, len(world.source.read())) == (2, 1)
    assert world.counted == world.source.truth


def test_a_map_that_ends_with_the_machine_is_reported_after_the_next_start(world):
    """What was last seen of it during an outage goes out, after the batch that was under way."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE, times=3)
    for _ in range(3):
        world.cycle()
        world.source.count(5)
    seen = dict(world.source.truth)
    world.source.replace()
    world.source._held.clear()
    world.restart()
    world.source.count(11)
    for _ in range(2):
        world.cycle(after_s=60)

    assert world.counted["total_packets"] == seen["total_packets"] - 5 + 11


def test_a_map_of_other_things_than_counters_ends_no_sidecar(world):
    """Values that jump up and down for ever are counted as they can be, or refused in the log."""
    for _ in range(6):
        world.source.set(2**62)
        world.cycle()
        world.source.set(0)
        world.cycle()

    assert world.collector.calls


def test_a_count_that_otlp_cannot_say_is_not_sent(world, caplog):
    """It is named in the log, cycle by cycle, and nothing wrong goes out."""
    world.source.set(2**63)
    world.cycle()

    assert world.collector.calls == []
    assert "encode field total_packets: " in caplog.text


@pytest.mark.parametrize("step_s", [-3600, -9, 3600])
def test_no_step_of_the_wall_clock_makes_a_rate(world, step_s):
    """Ten packets a second stay ten, on the wire as on the status page; also while windows are 1 ns long."""
    rates = []
    for at in range(6):
        if at == 2:
            world.clock.wall_ns += step_s * SECOND
        world.source.count(100)
        world.cycle()
        ((schema, (one,)),) = world.pipeline._telemetry.sources
        (place,) = (place for place, declared in schema.positions if declared.kind is Kind.RATE)
        rates.append(encode.rate(one, place))
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


def test_no_step_of_the_wall_clock_makes_a_rate_in_top():
    """What `top` divides by is the time that went by."""
    clock = Clock()
    source = Source(clock)
    watched = _Watched(source)
    for step_s in (0, -3600, -9, 3600):
        clock.wait(10)
        clock.wall_ns += step_s * SECOND

        assert watched.turn().seconds == 10.0


def test_every_cycle_leaves_its_line(world, caplog):
    """What the kernel counted is in the log also while the Collector is away."""
    caplog.set_level(logging.INFO)
    world.collector.will(StatusCode.UNAVAILABLE, times=10)
    for _ in range(3):
        world.source.count(1000)
        world.cycle()

    assert [line for line in caplog.messages if line.startswith("Total: ")] == [
        f"Total: {n},000 pkts, {n}00,000 bytes | IPv4: {n},000, IPv6: 0 | "
        f"TCP: {n},000, UDP: 0, ICMP: 0, Other: 0 | Rate: {rate} pps"
        for n, rate in ((1, "9.09"), (2, "100.00"), (3, "100.00"))
    ]


def test_run_makes_a_cycle_each_interval_and_a_last_one(world):
    """CollectorView to stop between two cycles, it sends what came since; the call is a short one."""
    world.clock.events = [(at, world.source.count) for at in (5, 15, 25, 28)]
    world.clock.stop_at = 29
    world.pipeline.run(10)
    (found,) = windows(world.collector)

    assert [window.count for window in found] == [0, 1, 1, 2]
    assert world.counted == world.source.truth
    assert world.timeouts[-1] == pipeline.LAST_TIMEOUT_S


def test_told_to_stop_during_an_outage_it_tries_both_batches(world):
    """What is under way goes first, then what came since; all of it is counted once."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE)
    world.clock.events = [(0.2, world.source.count)]
    world.clock.stop_at = 0.3
    world.pipeline.run(10)

    assert len(world.collector.calls) == 3
    assert world.counted == world.source.truth


def test_told_to_stop_without_a_collector_it_leaves_all_to_the_next_process(world):
    """Nothing is waited for, nothing lost."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE, times=2)
    world.clock.events = [(5, world.source.count)]
    world.clock.stop_at = 6
    world.pipeline.run(10)
    world.clock.stop_at = float("inf")
    world.restart()
    world.cycle()

    assert world.counted == world.source.truth


def test_told_to_stop_between_two_calls_it_makes_no_long_one(world):
    """SIGTERM while the maps are read: what follows must fit into the 5 s that are left."""
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


def test_a_cycle_that_took_too_long_is_not_made_up_for(world):
    """After a long call the next cycle comes at once, and then one each interval."""
    times = []
    push = _noting(world, times)

    def slow(request, *, timeout_s=None):
        outcome = push(request, timeout_s=timeout_s)
        world.clock.monotonic_s += 35 if len(times) == 1 else 0
        return outcome

    world.pusher.push = slow
    world.clock.stop_at = 60
    world.pipeline.run(10)

    assert times == [0, 35, 45, 55, 60]


def test_once_sends_what_was_left_and_what_there_is(world):
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


def test_once_with_a_map_that_cannot_be_read_says_so(world):
    """The error of the source is the error of the command; nothing is sent."""
    world.source.unreadable = True
    with pytest.raises(KernelError, match="cannot read map: EPERM: try again"):
        world.pipeline.once()

    assert world.collector.calls == []


@pytest.mark.parametrize("temporality", Temporality)
@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_lost_journal_never_doubles(collector, state_dir, temporality, how):
    """What was acknowledged is not counted again; what was lost with the journal is bounded by one window."""
    with World(collector, state_dir, temporality=temporality) as world:
        world.source.count(100)
        world.cycle()
        world.source.count(7)
        world.end()
        if how == "damaged":
            (state_dir / "journal").write_bytes(b"XDPOTEL1 and nothing that could be read")
        else:
            shutil.rmtree(state_dir)
        world.start()
        world.cycle()
        world.source.count(5)
        world.cycle()

        assert 105 <= world.counted["total_packets"] <= 112


@pytest.mark.parametrize("temporality", [Temporality.DELTA_WITH_BASE, Temporality.CUMULATIVE])
def test_a_collector_that_forgets_is_told_again(collector, state_dir, temporality):
    """The next batch brings a Collector that lost its state to the true totals."""
    with World(collector, state_dir, temporality=temporality) as world:
        for _ in range(3):
            world.source.count(100)
            world.cycle()
            world.cycle()
            collector.forget()
        world.source.count(1)
        world.cycle()

        assert world.counted == world.source.truth
