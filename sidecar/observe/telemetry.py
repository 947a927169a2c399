# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's own metrics: counters that the loop writes and the status endpoint reads.

Every label value exists from the start, at 0, so that a rate over it is right from its first increment.
"""

import logging
import mmap
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidecar import __version__
from sidecar.counts.window import NextWindow
from sidecar.errors import KernelError, RightsError, SidecarError, SourceError
from sidecar.log_fields import about
from sidecar.observe.self_metrics import SELF_METRICS, SelfMetric
from sidecar.schema import Schema, SourceSeries
from sidecar.sources.program_stats import ProgramRuns

log = logging.getLogger(__name__)

STAGES = ("read", "encode", "journal", "send")
READ_ERRORS: Mapping[type[SidecarError], str] = {
    SourceError: "source",
    RightsError: "rights",
    KernelError: "kernel",
}
OUTCOMES = ("delivered", "retry", "refused", "given_up")


@dataclass(frozen=True)
class Family:
    """
    A metric family as Prometheus defines it.

    Attributes:
        metric: What it is.
        samples: A value for each tuple of label values.

    """

    metric: SelfMetric
    samples: Mapping[tuple[str, ...], float]


@dataclass
class Telemetry:
    """
    Counts since the process started. Only the loop's thread writes them; times are monotonic, in seconds.

    Attributes:
        stage_runs: How often each stage of the pipeline ran.
        stage_seconds: How long each stage took in total.
        read_errors: Failed reads by kind.
        batches: Attempts to send, by outcome.
        points_rejected: Points that the Collector refused in a partial success.
        entries_emptied: Entries of maps whose counters were reset.
        counters_fallen: Counters that fell while others of their entry did not.
        keys_vanished: Keys that were in the last reading and are no longer there.
        journals_lost: Maps that had been reported before, by a journal that is not in this state directory.
        journal_bytes: Size of the journal as last written.
        pending_since: Since when a batch has been waiting for its acknowledgement, or None.
        progressed_at: When the loop last completed a step: see `progressed`.
        on_progress: Called after each of these steps, if anything.
        is_computing: Whether a cycle has begun and not yet come to a call, which takes no processor.
        ready: Whether nothing is in *troubles* since the last cycle, false before the first. An unreachable
            Collector does not matter: the kernel is the queue.
        troubles: What kept the last cycle from reporting everything that stands there to be counted: why each
            such source could not be read or encoded, or is stale, and why the journal could not be written.
        stale: Whether each source is stale.
        series_forgotten: Series that were dropped in favor of others.
        sources: What the sources have counted as of the last cycle, acknowledged or not.
        maps: For each source the name, id and type of its present map.
        interfaces: How many interfaces there are by state, if a pattern chooses them.
        programs: The runs of the programs whose maps are read, if they are counted.
        series: Number of series of each source.
        series_limit: Their limit.
        overflowed: Number of series aggregated into the overflow series.
        entries: Number of entries of each source's map.
        max_entries: Their limit.

    """

    stage_runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    stage_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    read_errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(READ_ERRORS.values(), 0))
    batches: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    points_rejected: int = 0
    entries_emptied: int = 0
    counters_fallen: int = 0
    keys_vanished: int = 0
    journals_lost: int = 0
    journal_bytes: int = 0
    pending_since: float | None = None
    progressed_at: float = field(default_factory=time.monotonic)
    on_progress: Callable[[], None] | None = None
    is_computing: bool = False
    ready: bool = False
    troubles: Mapping[str, str] = field(default_factory=dict)
    stale: dict[str, bool] = field(default_factory=dict)
    series_forgotten: int = 0
    sources: SourceSeries = ()
    maps: Callable[[], Mapping[str, tuple[str, int, str]]] = dict
    interfaces: Callable[[], Mapping[str, int]] = dict
    programs: Callable[[], Sequence[ProgramRuns]] = tuple
    series: dict[str, int] = field(default_factory=dict)
    series_limit: dict[str, int] = field(default_factory=dict)
    overflowed: dict[str, int] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    max_entries: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stages = {name: _Stage(self, name) for name in STAGES}

    def stage(self, name: str) -> "_Stage":
        """Time the `with` block as one run of a stage, also if it raises."""
        return self._stages[name]

    def progressed(self) -> None:
        """
        Note that the loop is alive: it turned, read a source, or a call to the Collector came back.

        This is what liveness is judged by, so each single step that may be slow must end here.
        """
        self.progressed_at = time.monotonic()
        if self.on_progress:
            self.on_progress()

    def read_failed(self, error: SidecarError) -> None:
        """Count a failed read by its kind."""
        self.read_errors[READ_ERRORS.get(type(error), "kernel")] += 1

    def completed(self, troubles: Mapping[str, str]) -> None:
        """Take what went wrong in a cycle, by source or `journal`."""
        self.troubles = troubles
        self.ready = not troubles
        self.is_computing = False

    def keep_sources(self, names: Collection[str]) -> None:
        """Forget what is known by source of any but these."""
        # The status endpoint may be reading the old ones.
        for family in ("series", "series_limit", "overflowed", "entries", "max_entries", "stale"):
            values = getattr(self, family)
            setattr(self, family, {name: value for name, value in values.items() if name in names})

    def record(self, source: str, schema: Schema, step: NextWindow) -> None:
        """Record one source's share of a batch; warn when it first exceeds its series limit."""
        self.keys_vanished += len(step.vanished)
        self.entries_emptied += len(step.emptied)
        self.counters_fallen += step.fallen
        self.series_forgotten += step.forgotten
        self.series[source] = len(step.series) * len(schema.instruments)
        self.series_limit[source] = schema.series_limit
        newest = step.snapshots[-1]
        self.entries[source] = len(newest.reading.cells)
        self.max_entries[source] = newest.identity.max_entries
        overflowed = step.overflowed * len(schema.instruments)
        if overflowed and not self.overflowed.get(source):
            log.warning(
                "%d series exceed the limit of %d and are aggregated into the series with "
                "otel.metric.overflow=true: raise --series-limit, or use fewer parts of the key",
                overflowed,
                schema.series_limit,
                extra=about(source),
            )
        self.overflowed[source] = overflowed

    def unacknowledged_s(self) -> float:
        """Return for how long the pending batch has waited; 0 if there is none."""
        since = self.pending_since
        return 0.0 if since is None else time.monotonic() - since

    def families(self) -> Iterator[Family]:
        """Yield all metrics that there is something to say of."""
        yield _by_label("xdp.otel.build.info", {__version__: 1})
        yield _family(
            "xdp.otel.map.info",
            {(source, name, str(map_id), kind): 1 for source, (name, map_id, kind) in self.maps().items()},
        )
        yield _by_label("xdp.otel.stage.runs", self.stage_runs)
        yield _by_label("xdp.otel.stage.time", self.stage_seconds)
        yield _by_label("xdp.otel.read.errors", self.read_errors)
        yield _by_label("xdp.otel.batches", self.batches)
        yield _by_label("xdp.otel.source.stale", {name: int(stale) for name, stale in self.stale.items()})
        if interfaces := self.interfaces():
            yield _by_label("xdp.otel.interfaces", interfaces)
        yield _by_label("xdp.otel.series.usage", self.series)
        yield _by_label("xdp.otel.series.limit", self.series_limit)
        yield _by_label("xdp.otel.series.overflowed", self.overflowed)
        yield _by_label("xdp.otel.map.entry.usage", self.entries)
        yield _by_label("xdp.otel.map.entry.limit", self.max_entries)
        for name, value in self._single_values():
            yield _family(name, {(): value})
        yield from self.program_families()

    def program_families(self) -> Iterator[Family]:
        """Yield the metrics of programs; none if there are no runs to report."""
        runs: dict[tuple[str, ...], float] = {}
        times: dict[tuple[str, ...], float] = {}
        for each in self.programs():
            labels = each.name, str(each.id), each.interface
            runs[labels], times[labels] = each.runs, each.run_time_ns
        if runs:
            yield _family("xdp.program.runs", runs)
            yield _family("xdp.program.run_time", times)

    def _single_values(self) -> Iterator[tuple[str, float]]:
        yield "xdp.otel.points.rejected", self.points_rejected
        yield "xdp.otel.entries.emptied", self.entries_emptied
        yield "xdp.otel.counters.fallen", self.counters_fallen
        yield "xdp.otel.keys.vanished", self.keys_vanished
        yield "xdp.otel.series.forgotten", self.series_forgotten
        yield "xdp.otel.journals.lost", self.journals_lost
        yield "xdp.otel.cpu.time", time.process_time()
        if (resident := resident_bytes()) is not None:
            yield "xdp.otel.memory.usage", resident
        yield "xdp.otel.journal.size", self.journal_bytes
        yield "xdp.otel.batch.age", self.unacknowledged_s()
        yield "xdp.otel.ready", int(self.ready)


class _Stage:
    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry, self._name = telemetry, name

    def __enter__(self) -> None:
        self._telemetry.is_computing = self._name != "send"
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        telemetry = self._telemetry
        telemetry.progressed()
        telemetry.stage_seconds[self._name] += telemetry.progressed_at - self._started
        telemetry.stage_runs[self._name] += 1


def resident_bytes() -> int | None:
    """Return the resident memory of the process (proc(5), `statm`), or None without /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return None


def _family(name: str, samples: Mapping[tuple[str, ...], float]) -> Family:
    return Family(SELF_METRICS[name], samples)


def _by_label(name: str, values: Mapping[str, float]) -> Family:
    """Return a family with one label, whose values are the keys."""
    # The loop may add values meanwhile; `dict` copies in one step.
    return _family(name, {(value,): number for value, number in dict(values).items()})
