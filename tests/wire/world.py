# SPDX-License-Identifier: Apache-2.0
"""A process with a real journal and real gRPC; only the kernel's maps and the clock are simulated."""

import contextlib
from dataclasses import dataclass, field

from sidecar.delivery import Delivery
from sidecar.errors import KernelError
from sidecar.model import MapIdentity, Snapshot, Temporality
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp_push import Pusher
from sidecar.pipeline import Pipeline
from sidecar.state import journal_log
from sidecar.state.journal import Journal
from sidecar.state.lost_journal import ReportedMaps
from sidecar.state.record import Record
from tests.packet_counter import FIELDS, INFO, SUMS, reading, schema

RESOURCE = (("service.instance.id", "one"), ("service.name", "test"))
KEY = bytes(4)
SECOND = 10**9
BIRTH = 1_000_000 * SECOND


class KilledError(BaseException):
    """The process ends here, as by SIGKILL."""


@dataclass
class Clock:
    """
    Monotonic and wall clock; both advance only in `wait`.

    At *stop_at* the process is told to stop; *events* are (time, function) pairs, called when they are due.
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
    """A map in memory, in place of the kernel's."""

    def __init__(self, clock, interface="eth0"):
        self.name = f"interface:{interface}"
        self.schema = schema(("network.interface.name", interface))
        self.unreadable = False
        self.stale = ""
        self.truth = dict.fromkeys(FIELDS, 0)
        self.history = {BIRTH: 0}
        self._clock = clock
        self._born = BIRTH
        self._generation = 41
        self._held = []
        self._counters = dict.fromkeys(FIELDS, 0)

    def count(self, packets=1, size=100):
        """Count TCP packets over IPv4."""
        grown = {"total_packets": packets, "total_bytes": packets * size}
        for name, more in {**grown, "tcp_packets": packets, "ipv4_packets": packets}.items():
            self._counters[name] += more
            self.truth[name] += more

    def replace(self):
        """Replace this map by a new one; the old one is held until it is released."""
        self._held.append(self._snapshot())
        self._generation += 1
        self._born = self._clock.wall_ns
        self._counters = dict.fromkeys(FIELDS, 0)

    def change(self, name, by):
        """Add to one field, which need not be a counter."""
        self._counters[name] += by

    def set(self, value):
        """Set every field to this value."""
        self._counters = dict.fromkeys(FIELDS, value)

    def read(self):
        if self.unreadable:
            raise KernelError("read map", "EPERM", "try again")
        self.history[self._clock.wall_ns] = self.truth["total_packets"]
        return [*self._held, self._snapshot()]

    def counted_at(self, time_ns):
        """The packets counted by the last reading up to this time."""
        return self.history[max(at for at in self.history if at <= time_ns)]

    @property
    def info(self):
        """The kernel's description of the map."""
        return INFO

    def release(self, reported_identity):
        identities = [held.identity for held in self._held]
        if reported_identity == self._snapshot().identity:
            self._held.clear()
        elif reported_identity in identities:
            del self._held[: identities.index(reported_identity)]

    def _snapshot(self):
        identity = MapIdentity("boot", self._generation, 6, 4, 64, 1)
        uptime_ns = round(self._clock.monotonic_s * SECOND)
        cells = reading(self._counters.values())
        return Snapshot(identity, self._born, self._clock.wall_ns, cells, uptime_ns)


class World:
    """
    A process with its pipeline, which can be killed and restarted, and its surroundings.

    *known*: the Collector has acknowledged a batch before, so no probe is sent first.
    """

    def __init__(self, collector, directory, *, temporality=Temporality.DELTA, timeout_s=5.0, known=True):
        self.collector = collector
        self.directory = directory
        self.clock = Clock()
        self.sources = [Source(self.clock)]
        self.fatal_step = None
        self.timeouts = []
        self.attempt_times = []
        self._temporality = temporality
        self.endpoint = Endpoint(f"localhost:{collector.port}", secure=False, timeout_s=timeout_s)
        self._process = contextlib.ExitStack()
        self._in_the_way = directory / "journal.new"
        with contextlib.closing(Journal(directory)) as journal:
            journal.commit(Record(accepted=known))

    @property
    def source(self):
        return self.sources[0]

    def add_source(self, interface):
        """Add a map of another interface."""
        source = Source(self.clock, interface)
        self.sources.append(source)
        return source

    def start(self):
        self.journal = _MortalJournal(self)
        self._process.callback(self.journal.close)
        self.pusher = _MortalPusher(self, self.endpoint)
        self._process.callback(self.pusher.close)
        self.telemetry = Telemetry()
        self.delivery = Delivery(self.journal, self.pusher, self.clock, self._temporality, self.telemetry)
        self.pipeline = Pipeline(
            self.sources,
            RESOURCE,
            self._temporality,
            self.delivery,
            self.clock,
            self.telemetry,
            reported_maps=ReportedMaps(self.directory),
        )
        return self

    def end(self):
        self._process.close()

    def restart(self):
        self.end()
        self.mend_disk()
        return self.start()

    def break_disk(self):
        """Make the journal fail: the old one is gone and no new one can be written."""
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
        """Restart as after a power cut: the mark was not flushed and a new file is half written."""
        self.end()
        self.mend_disk()
        with (self.directory / "journal.new").open("wb") as file:
            file.write(b"XDPO")
        with contextlib.suppress(FileNotFoundError), (self.directory / "journal").open("r+b") as file:
            file.seek(journal_log.MARK_AT)
            file.write(bytes(8))
        self.start()

    def cycle(self, after_s=10.0):
        """Wait, then run a cycle; a process killed in it is restarted."""
        self.clock.wait(after_s)
        try:
            self.pipeline.cycle()
        except KilledError:
            self.restart()

    def step(self, name):
        """Die here if this is the fatal step."""
        if name == self.fatal_step:
            self.fatal_step = None
            raise KilledError

    @property
    def truth(self):
        """The kernel's counts by field."""
        return {name: sum(source.truth[name] for source in self.sources) for name in FIELDS}

    @property
    def counted(self):
        """What Prometheus would show, by field."""
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
        self._world.attempt_times.append(self._world.clock.now())
        outcome = super().push(request, timeout_s=timeout_s)
        self._world.step("after push")
        return outcome
