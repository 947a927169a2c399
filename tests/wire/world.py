# SPDX-License-Identifier: Apache-2.0
"""A process with its real journal and its real gRPC; only the kernel's maps and the clock are made up."""

import contextlib
from dataclasses import dataclass, field

from sidecar.delivery import Delivery
from sidecar.errors import KernelError
from sidecar.model import MapIdentity, Snapshot, Temporality
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp_push import Pusher
from sidecar.pipeline import Pipeline
from sidecar.state import journal_format
from sidecar.state.journal import Journal
from sidecar.state.record import Record
from tests.packet_counter import FIELDS, INFO, SUMS, reading, schema

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

    def change(self, name, by):
        """Let one field, which is no counter, go up or down."""
        self._counters[name] += by

    def set(self, value):
        """Let every field have this value, whatever it had."""
        self._counters = dict.fromkeys(FIELDS, value)

    def read(self):
        if self.unreadable:
            raise KernelError("read map", "EPERM", "try again")
        self.history[self._clock.wall_ns] = self.truth["total_packets"]
        return [*self._held, self._snapshot()]

    def counted_at(self, time_ns):
        """How many packets the last reading up to this time had counted."""
        return self.history[max(at for at in self.history if at <= time_ns)]

    @property
    def info(self):
        """What the kernel would say of the map."""
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
    A process with its pipeline, which can be killed and started again, and what is around it.

    If it is *known*, the Collector has acknowledged a batch before, so that no probe comes first.
    """

    def __init__(self, collector, directory, *, temporality=Temporality.DELTA, timeout_s=5.0, known=True):
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
        with contextlib.closing(Journal(directory)) as journal:
            journal.commit(Record(accepted=known))

    @property
    def source(self):
        return self.sources[0]

    def start(self):
        self.journal = _MortalJournal(self)
        self._process.callback(self.journal.close)
        self.pusher = _MortalPusher(self, self.endpoint)
        self._process.callback(self.pusher.close)
        self.delivery = Delivery(self.journal, self.pusher, self.clock, self._temporality)
        self.telemetry = Telemetry()
        self.pipeline = Pipeline(
            self.sources, RESOURCE, self._temporality, self.delivery, self.clock, self.telemetry
        )
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
    def truth(self):
        """What the kernel counted, field by field."""
        return {name: sum(source.truth[name] for source in self.sources) for name in FIELDS}

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
