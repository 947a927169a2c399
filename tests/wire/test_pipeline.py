# SPDX-License-Identifier: Apache-2.0
"""The pipeline with its real journal and its real gRPC; only the kernel's maps and the clock are made up."""

import contextlib
import logging
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar import journal_format, otlp_message, pipeline, reported
from sidecar.delivery import Delivery
from sidecar.errors import KernelError, NotAcknowledgedError
from sidecar.journal import Journal
from sidecar.model import MapIdentity, Snapshot, Temporality
from sidecar.otlp_endpoint import Endpoint
from sidecar.otlp_push import Pusher
from sidecar.pipeline import Pipeline
from tests.packet_counter import FIELDS, SUMS, reading, schema

RESOURCE = (("service.instance.id", "one"), ("service.name", "test"))
KEY = bytes(4)
SECOND = 10**9
BIRTH = 1_000_000 * SECOND


class KilledError(BaseException):
    """The process ends here, as by SIGKILL: nothing of it runs any more."""


@dataclass
class Clock:
    """
    Monotonic and wall time, which pass only by waiting.

    *stop_at* is when the process is told to stop; *events* are (time, function), run when their time comes.
    """

    monotonic_s: float = 0.0
    wall_ns: int = BIRTH + 100 * SECOND
    stop_at: float = float("inf")
    events: list = field(default_factory=list)

    def now(self):
        return self.monotonic_s

    def wait(self, seconds):
        end = max(self.monotonic_s, min(self.monotonic_s + seconds, self.stop_at))
        while self.events and self.events[0][0] <= end:
            at, event = self.events.pop(0)
            self._advance(at)
            event()
        self._advance(end)
        return self.monotonic_s >= self.stop_at

    def _advance(self, to_s):
        self.wall_ns += round((to_s - self.monotonic_s) * SECOND)
        self.monotonic_s = to_s


class Source:
    """A map in memory that stands where the kernel's would."""

    def __init__(self, clock, name="interface:eth0", attributes=(("network.interface.name", "eth0"),)):
        self.name = name
        self.schema = schema(*attributes)
        self.unreadable = False
        self.truth = dict.fromkeys(FIELDS, 0)
        self.history = {BIRTH: 0}
        self._clock = clock
        self._born = BIRTH
        self._generation = 41
        self._held = []
        self._counters = dict.fromkeys(FIELDS, 0)

    def count(self, packets=1, size=100):
        """Let TCP packets over IPv4 come in."""
        grown = {"total_packets": packets, "total_bytes": packets * size}
        for name, more in {**grown, "tcp_packets": packets, "ipv4_packets": packets}.items():
            self._counters[name] += more
            self.truth[name] += more

    def replace(self):
        """Put a new map in the place of this one, which is held until it is released."""
        self._held.append(self._snapshot())
        self._generation += 1
        self._born = self._clock.wall_ns
        self._counters = dict.fromkeys(FIELDS, 0)

    def set(self, value):
        """Let every field have this value, whatever it had."""
        self._counters = dict.fromkeys(FIELDS, value)

    def read(self):
        if self.unreadable:
            raise KernelError("read map", "EPERM", "try again")
        self.history[self._clock.wall_ns] = self.truth["total_packets"]
        return [*self._held, self._snapshot()]

    def release(self, reported_identity):
        identities = [held.identity for held in self._held]
        if reported_identity == self._snapshot().identity:
            self._held.clear()
        elif reported_identity in identities:
            del self._held[: identities.index(reported_identity)]

    def _snapshot(self):
        identity = MapIdentity("boot", self._generation, 6, 4, 64, 1)
        return Snapshot(identity, self._born, self._clock.wall_ns, reading(self._counters.values()))


class World:
    """A process with its pipeline, which can be killed and started again, and what is around it."""

    def __init__(self, collector, directory, *, temporality=Temporality.DELTA, timeout_s=5.0):
        self.collector = collector
        self.directory = directory
        self.clock = Clock()
        self.sources = [Source(self.clock)]
        self.fatal_step = None
        self.timeouts = []
        self._temporality = temporality
        self.endpoint = Endpoint(f"localhost:{collector.port}", secure=False, timeout_s=timeout_s)
        self._process = contextlib.ExitStack()
        self._in_the_way = directory / "journal.new"

    @property
    def source(self):
        return self.sources[0]

    def start(self):
        self.journal = _MortalJournal(self)
        self._process.callback(self.journal.close)
        self.pusher = _MortalPusher(self, self.endpoint)
        self._process.callback(self.pusher.close)
        self.delivery = Delivery(self.journal, self.pusher, self.clock)
        self.pipeline = Pipeline(self.sources, RESOURCE, self._temporality, self.delivery, self.clock)
        return self

    def end(self):
        self._process.close()

    def restart(self):
        self.end()
        self.mend_disk()
        return self.start()

    def break_disk(self):
        """No journal can be written, and the one that is there cannot be marked."""
        if not self._in_the_way.is_dir():
            self._in_the_way.unlink(missing_ok=True)
            self._in_the_way.mkdir()
            with contextlib.suppress(FileNotFoundError):
                (self.directory / "journal").rename(self.directory / "hidden")

    def mend_disk(self):
        if self._in_the_way.is_dir():
            self._in_the_way.rmdir()
            with contextlib.suppress(FileNotFoundError):
                (self.directory / "hidden").rename(self.directory / "journal")

    def cut_power(self):
        """End as at a power cut, which takes what was not flushed: the mark, and a file half written."""
        self.end()
        self.mend_disk()
        with (self.directory / "journal.new").open("wb") as file:
            file.write(b"XDPO")
        with contextlib.suppress(FileNotFoundError), (self.directory / "journal").open("r+b") as file:
            file.seek(journal_format.MARK_AT)
            file.write(bytes(8))
        self.start()

    def cycle(self, after_s=10.0):
        """Let time pass and make a cycle; a process that is killed in it is started again."""
        self.clock.wait(after_s)
        try:
            self.pipeline.cycle()
        except KilledError:
            self.restart()

    def step(self, name):
        """Die here if that is the step to die at."""
        if name == self.fatal_step:
            self.fatal_step = None
            raise KilledError

    @property
    def counted(self):
        """What Prometheus would show, field by field."""
        return {name: self.collector.total(SUMS[name]) for name in FIELDS}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.end()


class _MortalJournal(Journal):
    def __init__(self, world):
        super().__init__(world.directory)
        self._world = world

    def commit(self, record):
        self._world.step("before commit")
        written = super().commit(record)
        self._world.step("after commit")
        return written

    def acknowledge(self):
        self._world.step("before acknowledge")
        super().acknowledge()
        self._world.step("after acknowledge")


class _MortalPusher(Pusher):
    def __init__(self, world, endpoint):
        super().__init__(endpoint)
        self._world = world

    def push(self, request, *, timeout_s=None):
        self._world.step("before push")
        self._world.timeouts.append(timeout_s)
        outcome = super().push(request, timeout_s=timeout_s)
        self._world.step("after push")
        return outcome


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


def windows(collector, metric="xdp.packets.total"):
    """The windows of a sum that were counted, stream by stream."""
    return [found for (_, name, _), found in collector.windows.items() if name == metric]


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
    monkeypatch.setattr(otlp_message, "POINTS_PER_REQUEST", 1)
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


def test_a_definite_refusal_costs_nothing(world, caplog):
    """The batch is given up, and its counts go out with the next one."""
    world.source.count(7)
    world.collector.will(StatusCode.INVALID_ARGUMENT, "no")
    world.cycle()
    world.source.count(4)
    world.cycle()
    refused, accepted = world.collector.bodies

    assert refused != accepted
    assert "batch 1 refused (INVALID_ARGUMENT: no): its counts go out with the next batch" in caplog.text
    assert [window.count for window in windows(world.collector)[0]] == [11]
    assert world.counted == world.source.truth


@pytest.mark.parametrize(
    "code", [StatusCode.INVALID_ARGUMENT, StatusCode.UNAUTHENTICATED, StatusCode.UNIMPLEMENTED]
)
def test_a_definite_refusal_is_remembered_over_a_restart(world, code):
    """A Collector that refuses from the first day on costs nothing, however often we are restarted."""
    for _ in range(3):
        world.source.count(7)
        world.collector.will(code, times=4)
        world.cycle()
        world.cycle()
        world.restart()
    world.collector.will_be_fine()
    for _ in range(3):
        world.cycle(after_s=60)

    assert world.counted == world.source.truth


@pytest.mark.parametrize("counts", [True, False])
def test_an_unclear_refusal_is_not_sent_again(world, counts, caplog):
    """INTERNAL may have been counted: the window is passed over, a loss at worst, and the log says so."""
    world.source.count(7)
    world.collector.will(StatusCode.INTERNAL, counts=counts)
    world.cycle()
    world.source.count(4)
    world.cycle()

    assert len(set(world.collector.bodies)) == 2
    assert "it may have been counted, so its counts are not sent again" in caplog.text
    assert world.counted["total_packets"] == (11 if counts else 4)


def test_an_unclear_refusal_is_remembered_over_a_restart(world):
    """The specification forbids to send the same again, and a new process is no excuse."""
    world.source.count(7)
    world.collector.will(StatusCode.INTERNAL)
    world.cycle()
    world.restart()
    world.cycle()

    assert len(set(world.collector.bodies)) == len(world.collector.bodies)


@pytest.mark.parametrize("code", [StatusCode.INVALID_ARGUMENT, StatusCode.UNIMPLEMENTED])
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


@pytest.mark.parametrize("counts", [True, False])
def test_wrong_credentials_after_a_lost_answer_cost_nothing(world, counts):
    """Whoever puts the credentials right finds all counts again."""
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE, counts=counts)
    world.collector.will(StatusCode.UNAUTHENTICATED, times=3)
    for _ in range(6):
        world.source.count(4)
        world.cycle(after_s=60)

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


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "entry 0x00 went back"), (7, "entries 0x00, 0x01, 0x02, 0x03, 0x04 and 2 more went back")],
)
def test_emptied_entries_are_one_line_however_many(clock_source, caplog, count, said):
    """A map of a hundred thousand keys that is emptied does not fill the log."""
    pipeline._log_emptied(clock_source, [bytes([number]) for number in range(count)])

    assert [f"interface:eth0: {said}: somebody emptied the map"] == [
        one.getMessage() for one in caplog.records
    ]


@pytest.fixture
def clock_source():
    return Source(Clock())


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
    """Told to stop between two cycles, it sends what came since; the call is a short one."""
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
    with pytest.raises(NotAcknowledgedError, match=r"^send batch 1: UNAVAILABLE: .*; the batch is kept$"):
        world.pipeline.once()
    world.source.count(4)
    world.restart()
    world.pipeline.once()

    assert [window.count for window in windows(world.collector)[0]] == [3, 4]


def test_once_with_a_map_that_cannot_be_read_says_so(world):
    """The error of the source is the error of the command; nothing is sent."""
    world.source.unreadable = True
    with pytest.raises(KernelError, match="read map: EPERM: try again"):
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


# What can happen in a round: before the packets come in and a cycle is made.
LOST_ANSWER = ("answer", {"code": StatusCode.UNAVAILABLE, "counts": True})
NOT_TAKEN = ("answer", {"code": StatusCode.UNAVAILABLE})
LATE = ("answer", {"hangs": True, "counts": True})
LOCKED_OUT = ("answer", {"code": StatusCode.UNAUTHENTICATED})
REFUSED = ("answer", {"code": StatusCode.INVALID_ARGUMENT})
UNCLEAR = ("answer", {"code": StatusCode.INTERNAL})
UNCLEAR_BUT_TAKEN = ("answer", {"code": StatusCode.UNKNOWN, "counts": True})
NOTHING, RELOAD = ("nothing", None), ("reload", None)
UNREADABLE, DISK_GONE = ("unreadable", None), ("disk gone", None)
COLLECTOR_FORGETS = ("collector forgets", None)
KILLED, POWER_CUT = ("killed", None), ("power cut", None)
KILLED_IN_STEP = [
    ("killed in step", f"{when} {what}")
    for what in ("commit", "push", "acknowledge")
    for when in ("before", "after")
]
CLOCK_IS_SET = [("clock is set", seconds) for seconds in (-50, -1, 50)]

HARMLESS = [NOTHING, LOST_ANSWER, NOT_TAKEN, LOCKED_OUT, UNREADABLE, DISK_GONE, LATE]
DEADLY = [KILLED, POWER_CUT, *KILLED_IN_STEP]
REFUSING = [REFUSED, UNCLEAR, UNCLEAR_BUT_TAKEN]


def scripts(*happenings):
    """Lists of (what happens, packets that come in then, seconds until the cycle)."""
    one = st.tuples(st.sampled_from(happenings), st.integers(0, 2**40), st.sampled_from([0.001, 10, 100]))
    return st.lists(one, min_size=4, max_size=20)


def act(world, happening, value):
    """Let one thing happen."""
    if happening == "answer":
        world.collector.will(**value)
    elif happening == "unreadable":
        world.source.unreadable = True
    elif happening == "clock is set":
        world.clock.wall_ns += value * SECOND
    elif happening == "killed in step":
        world.fatal_step = value
    elif happening != "nothing":
        {
            "disk gone": world.break_disk,
            "collector forgets": world.collector.forget,
            "killed": world.restart,
            "power cut": world.cut_power,
            "reload": world.source.replace,
        }[happening]()


@contextlib.contextmanager
def played(new_collector, temporality, script):
    """A world in which a script was played and then everything was well for a while."""
    with (
        new_collector() as collector,
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr(reported, "PIN_ROOT", Path(directory) / "bpffs")
        world = World(collector, Path(directory) / "state", temporality=temporality, timeout_s=0.05)
        with world:
            for happening, packets, after_s in script:
                act(world, *happening)
                world.source.count(packets)
                world.cycle(after_s)
                world.mend_disk()
                world.source.unreadable = False
            world.fatal_step = None
            world.endpoint = replace(world.endpoint, timeout_s=10)
            collector.will_be_fine()
            world.restart()
            for _ in range(3):
                world.cycle(after_s=100)
            yield world


@pytest.mark.parametrize("temporality", Temporality)
@given(script=scripts(*HARMLESS, *CLOCK_IS_SET, *DEADLY))
@settings(deadline=None, max_examples=30)
def test_whatever_fails_every_packet_is_counted_once(new_collector, temporality, script):
    """Answers lost or late, calls refused, disk gone, clock set, process killed at any step, power cut."""
    with played(new_collector, temporality, script) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [Temporality.DELTA_WITH_BASE, Temporality.CUMULATIVE])
@given(script=scripts(*HARMLESS, *CLOCK_IS_SET, *DEADLY, *[COLLECTOR_FORGETS] * 4))
@settings(deadline=None, max_examples=20)
def test_whatever_fails_and_whatever_is_forgotten_every_packet_is_counted_once(
    new_collector, temporality, script
):
    """The Collector, too, may lose its state at any time."""
    with played(new_collector, temporality, script) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", Temporality)
@given(script=scripts(*HARMLESS, *CLOCK_IS_SET, RELOAD))
@settings(deadline=None, max_examples=20)
def test_whatever_fails_and_whatever_is_loaded_every_packet_is_counted_once(
    new_collector, temporality, script
):
    """New maps may take the place of old ones at any time while the process lives."""
    with played(new_collector, temporality, script) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", Temporality)
@given(script=scripts(*HARMLESS, *DEADLY, *REFUSING))
@settings(deadline=None, max_examples=20)
def test_whatever_is_refused_no_packet_is_counted_twice(new_collector, temporality, script):
    """A refusal that may have been counted can cost a window; it never makes one count twice."""
    with played(new_collector, temporality, script) as world:
        assert all(world.counted[name] <= world.source.truth[name] for name in FIELDS)
        if temporality is Temporality.CUMULATIVE:
            assert world.counted == world.source.truth


@given(script=scripts(*HARMLESS, *DEADLY, *REFUSING))
@settings(deadline=None, max_examples=20)
def test_every_window_has_what_was_counted_in_it(new_collector, script):
    """Windows never overlap, and each that was counted is exact, also between windows that were refused."""
    with played(new_collector, Temporality.DELTA, script) as world:
        (found,) = windows(world.collector)
        history = world.source.history

        assert all(one.end_ns <= other.start_ns for one, other in pairwise(found))
        assert [window.count for window in found] == [
            history[window.end_ns] - history[window.start_ns] for window in found
        ]
