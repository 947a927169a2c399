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
from typing import Literal

from sidecar import __version__
from sidecar.counts.window import NextWindow
from sidecar.errors import KernelError, RightsError, SidecarError, SourceError
from sidecar.log_fields import about
from sidecar.schema import Schema, SourceSeries
from sidecar.sources.program_stats import ProgramRuns

log = logging.getLogger(__name__)

STAGES = ("read", "encode", "journal", "send")
READ_ERRORS: Mapping[type[SidecarError], str] = {
    SourceError: "source",
    RightsError: "rights",
    KernelError: "kernel",
}
_PROGRAM = ("xdp.program.name", "xdp.program.id", "network.interface.name")
OUTCOMES = ("delivered", "retry", "refused", "given_up")


@dataclass(frozen=True)
class Family:
    """
    A metric family as Prometheus defines it.

    Attributes:
        name: Without the prefix `xdp_otel_` and, for a counter, the suffix `_total`; or the whole, with dots.
        kind: Its type.
        help: One sentence.
        labels: Names of its labels.
        samples: A value for each tuple of label values.
        unit: In OTLP; empty where the name has it.

    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], float]
    unit: str = ""

    @property
    def metric(self) -> str:
        """Its whole name in OTLP; Prometheus shows it with `xdp_` before it, and `_` for each dot."""
        if "." in self.name:
            return self.name
        return f"otel.{self.name}" + (".total" if self.kind == "counter" else "")


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
        on_progress: Called after each of these steps.
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
    on_progress: Callable[[], None] = lambda: None
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

    def stage(self, name: str) -> "_Stage":
        """Time the `with` block as one run of a stage, also if it raises."""
        return _Stage(self, name)

    def progressed(self) -> None:
        """
        Note that the loop is alive: it turned, read a source, or a call to the Collector came back.

        This is what liveness is judged by, so each single step that may be slow must end here.
        """
        self.progressed_at = time.monotonic()
        self.on_progress()

    def read_failed(self, error: SidecarError) -> None:
        """Count a failed read by its kind."""
        self.read_errors[READ_ERRORS.get(type(error), "kernel")] += 1

    def completed(self, troubles: Mapping[str, str]) -> None:
        """Take what went wrong in a cycle, by source or `journal`."""
        self.troubles = troubles
        self.ready = not troubles

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
        """Yield all metrics, without the prefix `xdp_otel_`."""
        yield _family("build_info", "gauge", "Running version.", ("version",), {__version__: 1})
        yield Family(
            "map_info",
            "gauge",
            "Map that a source reads.",
            ("source", "map", "id", "type"),
            {(source, name, str(map_id), kind): 1 for source, (name, map_id, kind) in self.maps().items()},
        )
        yield _family("stage_runs", "counter", "Runs of a stage.", ("stage",), self.stage_runs)
        yield _family(
            "stage_seconds", "counter", "Time spent in a stage, seconds.", ("stage",), self.stage_seconds
        )
        yield _family("read_errors", "counter", "Failed reads by kind.", ("kind",), self.read_errors)
        yield _family("batches", "counter", "Attempts to send by outcome.", ("outcome",), self.batches)
        yield _family(
            "source_stale",
            "gauge",
            "Whether a source does not read what stands at its place.",
            ("source",),
            {source: int(stale) for source, stale in self.stale.items()},
        )
        if interfaces := self.interfaces():
            text = "Interfaces that patterns choose, by state."
            yield _family("interfaces", "gauge", text, ("state",), interfaces)
        yield _family("series", "gauge", "Series of a source.", ("source",), self.series)
        yield _family("series_limit", "gauge", "Most series of a source.", ("source",), self.series_limit)
        yield _family(
            "series_overflowed",
            "gauge",
            "Series aggregated into the overflow series.",
            ("source",),
            self.overflowed,
        )
        yield _family("map_entries", "gauge", "Entries of a source's map.", ("source",), self.entries)
        yield _family(
            "map_max_entries", "gauge", "Most entries of a source's map.", ("source",), self.max_entries
        )
        for name, kind, text, value in self._single_values():
            yield Family(name, kind, text, (), {(): value})
        yield from self.program_families()

    def program_families(self) -> Iterator[Family]:
        """Yield the metrics of programs; none if there are no runs to report."""
        runs: dict[tuple[str, ...], float] = {}
        times: dict[tuple[str, ...], float] = {}
        for each in self.programs():
            labels = each.name, str(each.id), each.interface
            runs[labels], times[labels] = each.runs, each.run_time_ns
        if runs:
            text = "of a program whose map is read, since the sidecar started."
            yield Family("xdp.program.runs", "counter", f"Runs {text}", _PROGRAM, runs, "{run}")
            yield Family("xdp.program.run_time", "counter", f"Time of the runs {text}", _PROGRAM, times, "ns")

    def _single_values(self) -> Iterator[tuple[str, Literal["counter", "gauge"], str, float]]:
        yield (
            "points_rejected",
            "counter",
            "Points that the Collector rejected.",
            self.points_rejected,
        )
        yield "entries_emptied", "counter", "Entries whose counters were reset.", self.entries_emptied
        yield (
            "counters_fallen",
            "counter",
            "Counters that fell while others of their entry did not.",
            self.counters_fallen,
        )
        yield "keys_vanished", "counter", "Keys that are no longer there.", self.keys_vanished
        yield "series_forgotten", "counter", "Series dropped in favor of others.", self.series_forgotten
        yield "journals_lost", "counter", "Maps whose journal was lost.", self.journals_lost
        yield "cpu_seconds", "counter", "CPU time of the sidecar, seconds.", time.process_time()
        if (resident := resident_bytes()) is not None:
            yield "resident_bytes", "gauge", "Resident memory of the sidecar, bytes.", resident
        yield "journal_bytes", "gauge", "Size of the journal, bytes.", self.journal_bytes
        yield "unacknowledged_seconds", "gauge", "Age of the unacknowledged batch.", self.unacknowledged_s()
        yield "ready", "gauge", "Whether all sources are read and the journal is written.", int(self.ready)


class _Stage:
    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry, self._name = telemetry, name

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._telemetry.stage_seconds[self._name] += time.monotonic() - self._started
        self._telemetry.stage_runs[self._name] += 1
        self._telemetry.progressed()


def resident_bytes() -> int | None:
    """Return the resident memory of the process (proc(5), `statm`), or None without /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return None


def _family(
    name: str,
    kind: Literal["counter", "gauge"],
    text: str,
    labels: tuple[str],
    values: Mapping[str, float],
) -> Family:
    # The loop may add values meanwhile; `dict` copies in one step.
    return Family(name, kind, text, labels, {(value,): number for value, number in dict(values).items()})
