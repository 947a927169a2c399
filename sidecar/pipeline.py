# SPDX-License-Identifier: Apache-2.0
"""
The order of the stages.

    map → Source.read → delta.advance → encode → Delivery.submit → Delivery.send → Collector

The kernel is the queue: the maps keep counting, so at most one batch is pending. It is frozen when it is
encoded, journaled before it is sent, and resent with the same points until it is acknowledged; the next one
starts where it ended. Whatever happens in between is still in the maps.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from sidecar.counts import delta, fields, idle
from sidecar.counts.window import NextWindow
from sidecar.delivery import Clock, Delivery
from sidecar.errors import NotAcknowledgedError, SidecarError, SourceError
from sidecar.model import Attribute, Baseline, Snapshot, Temporality
from sidecar.observe.cycle_report import CycleReport
from sidecar.observe.ongoing import Ongoing
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp import no_recorded_value
from sidecar.otlp.encode import encode
from sidecar.otlp.outcome import LAST_TIMEOUT_S, Delivered, Outcome
from sidecar.reload import Reload
from sidecar.sources.source import Source
from sidecar.sources.source_set import SourceSet
from sidecar.state.lost_journal import CONSEQUENCES, ReportedMaps, first_baseline, known_as
from sidecar.state.record import Batch

log = logging.getLogger(__name__)

Readings = Mapping[str, Sequence[Snapshot]]
"""The snapshots of each source that could be read, by its name; the newest map last."""

Windows = Mapping[Source, NextWindow]

# What the log says when a stage works again.
_WORKS = {"read": "read again", "encode": "encoded again", "record": "batches are journaled again"}


class Pipeline:
    """Carry counts from sources to one endpoint."""

    def __init__(
        self,
        sources: Sequence[Source],
        resource: Sequence[Attribute],
        temporality: Temporality,
        delivery: Delivery,
        clock: Clock,
        telemetry: Telemetry | None = None,
        after_delivery: Callable[[], None] = lambda: None,
        reported_maps: ReportedMaps | None = None,
        *,
        delivers: bool = True,
        members: SourceSet | None = None,
    ) -> None:
        """
        Take opened sources; *after_delivery* is called after each acknowledged batch.

        Unless *delivers*, nothing leaves this host, and the log has what the maps hold. *members* are the
        same sources, if some of them may come and go.
        """
        self._members = members
        # The members that have gone and whose last counts are in the present batch.
        self._last_read: Collection[Source] = ()
        self._sources = sources
        self._resource = resource
        self._temporality = temporality
        self._delivery = delivery
        self._clock = clock
        self._telemetry = telemetry or Telemetry()
        self._after_delivery = after_delivery
        self._report = CycleReport(self._telemetry, clock.now, delivers=delivers)
        self._ongoing = Ongoing(clock.now)
        self._reported_maps = reported_maps or ReportedMaps()
        # What went wrong in the present cycle, by source or `journal`.
        self._failures: dict[str, SidecarError] = {}
        self._is_once = False
        self._telemetry.stale = {source.name: False for source in sources}

    def run(self, interval_s: float, reload: Reload | None = None) -> None:
        """
        Run a cycle each *interval_s* seconds until the clock says stop; then a last one.

        The clock's wait ends early when *reload* comes to be wanted.
        """
        next_cycle = self._clock.now()
        stopping = False
        while not stopping:
            self._telemetry.progressed()
            self._follow_members()
            if self._clock.now() >= next_cycle:
                self.cycle()
                # Cycles missed during one that took longer than the interval are not made up for.
                next_cycle = max(next_cycle + interval_s, self._clock.now())
            else:
                self._send_if_due()
                self._report.minute(self._names)
            if reload and reload.is_wanted() and self._reload(reload):
                next_cycle = self._clock.now()
            wake = min(next_cycle, self._delivery.resend_at)
            stopping = self._clock.wait(max(0.0, wake - self._clock.now()))
        self._shutdown()
        self._report.totals(self._names)

    def once(self) -> None:
        """
        Run one cycle and have its batch acknowledged, after the batch that the last process left.

        A source that cannot be read or encoded keeps none of the others from being sent.

        Raises:
            NotAcknowledgedError: The Collector did not acknowledge the batch, which the journal keeps, or it
                refused a part of it.
            SidecarError: A source could not be read or encoded, or the journal could not be written.

        """
        self._is_once = True
        try:
            outcome = self._send()
            if not self._delivery.has_pending:
                readings = self._read()
                self._report_readings(readings)
                if readings:
                    outcome = self._record_and_send(readings)
        finally:
            self._report.totals(self._names)
        if self._failures:
            raise next(iter(self._failures.values()))
        if isinstance(outcome, Delivered) and outcome.rejected:
            raise NotAcknowledgedError(
                f"send all of batch {self._delivery.sequence}",
                f"the Collector refused {outcome.rejected} points: {outcome.message}",
                "see its log; what it refused is not sent again",
            )
        if not isinstance(outcome, Delivered):
            raise NotAcknowledgedError(
                f"send batch {self._delivery.sequence}",
                outcome.reason if outcome else "nothing to send",
                f"{outcome.remedy if outcome else 'see above'}, and run again"
                + ("; the batch is kept" if self._delivery.has_pending else ""),
            )

    def cycle(self) -> None:
        """Read; send the pending batch if it is due; then freeze, journal and send a new one."""
        readings = self._read()
        self._report_readings(readings)
        self._send_if_due()
        self._try_record_and_send(readings)
        self._telemetry.completed(self._troubles())
        self._report.minute(self._names)

    def _troubles(self) -> Mapping[str, str]:
        stale = {source.name: f"stale: {source.stale}" for source in self._sources if source.stale}
        return stale | {where: str(failure) for where, failure in self._failures.items()}

    def _follow_members(self) -> None:
        """Go on with the members that there are now, without those whose last counts were delivered."""
        if self._members is None:
            return
        is_other = self._members.follow()
        if self._last_read and not self._delivery.has_pending:
            self._members.let_go(self._last_read)
            self._last_read = ()
            self._delivery.retain(self._members.retained, {})
            is_other = True
        if is_other:
            self._sources = self._members.sources
            self._telemetry.keep_sources([source.name for source in self._sources])

    def _reload(self, reload: Reload) -> bool:
        """Go on with the sources of another configuration; return whether that was possible."""
        if not self._settle():
            reload.wait(self._delivery.sequence)
            return False
        before = {source.name: (source.info, source.schema.layout.fields) for source in self._sources}
        if not reload.apply():
            return False
        self._sources = reload.sources
        renamed = {
            source.name: fields.new_names(before[source.name][1], source.schema.layout.fields)
            for source in self._sources
            if source.name in before and source.info == before[source.name][0]
        }
        self._delivery.retain(reload.retained, renamed)
        self._telemetry.keep_sources([source.name for source in self._sources])
        return True

    def _settle(self) -> bool:
        """Read and send once more; return whether no batch is left that was made of these sources."""
        if self._delivery.has_pending:
            return False
        try:
            # A Collector that refuses batches for good, until the next may be sent, is no reason to wait.
            if self._delivery.can_submit:
                self._record_and_send(self._read())
        except SidecarError as error:
            self._fails("record", error)
            return False
        return not self._delivery.has_pending

    def _shutdown(self) -> None:
        """Send the pending batch and one last batch, each with a short deadline."""
        self._send(timeout_s=LAST_TIMEOUT_S)
        self._try_record_and_send(self._read(), timeout_s=LAST_TIMEOUT_S)
        if self._members and self._last_read and not self._delivery.has_pending:
            self._members.let_go(self._last_read)

    def _read(self) -> Readings:
        readings: dict[str, Sequence[Snapshot]] = {}
        self._failures.clear()
        with self._telemetry.stage("read"):
            for source in self._sources:
                try:
                    readings[source.name] = source.read()
                    self._telemetry.progressed()
                except SidecarError as error:
                    self._fails("read", error, source.name)
                else:
                    self._works("read", source.name)
                    self._note_staleness(source)
        self._telemetry.stale = {source.name: bool(source.stale) for source in self._sources}
        return readings

    def _note_staleness(self, source: Source) -> None:
        key = "stale", source.name
        if source.stale:
            self._ongoing.holds(key, f"stale: {source.stale}", source=source.name)
        else:
            self._ongoing.ended(key, "no longer stale", source=source.name)

    def _report_readings(self, readings: Readings) -> None:
        for source in self._sources:
            if source.name in readings:
                self._report.reading(source.name, source.schema, readings[source.name][-1])

    def _try_record_and_send(self, readings: Readings, *, timeout_s: float | None = None) -> None:
        try:
            self._record_and_send(readings, timeout_s=timeout_s)
        except SidecarError as error:
            # Not journaled, so not sent: the counts are still in the maps, and the next cycle has them.
            self._fails("record", error)
        else:
            self._works("record")

    def _record_and_send(self, readings: Readings, *, timeout_s: float | None = None) -> Outcome | None:
        """Journal and send the readings, after a probe if one is needed; raise SidecarError if that fails."""
        probing = self._delivery.needs_probe
        self._record(readings)
        outcome = self._send_if_due(timeout_s=timeout_s)
        if probing and not self._delivery.needs_probe:
            # The acknowledged probe moved the baselines, so the windows are computed anew.
            return self._record_and_send(readings, timeout_s=timeout_s)
        return outcome

    def _record(self, readings: Readings) -> None:
        """Journal the readings, in a new batch if one may be submitted; raise SidecarError if that fails."""
        generations = {
            source: delta.with_lost_maps(self._delivery.snapshots.get(source.name, ()), readings[source.name])
            for source in self._sources
            if source.name in readings
        }
        self._add_new_sources(generations)
        windows = {source: self._advance(source, snapshots) for source, snapshots in generations.items()}
        self._telemetry.sources = [(source.schema, window.series) for source, window in windows.items()]
        snapshots = {source.name: window.snapshots for source, window in windows.items()}
        if not self._delivery.can_submit:
            self._delivery.record_snapshots(snapshots)
        elif self._delivery.needs_probe:
            self._submit(
                {source: self._probe(source, window) for source, window in windows.items()}, snapshots
            )
        else:
            submitted = self._submit(windows, snapshots)
            if self._members:
                self._last_read = self._members.gone & submitted.keys()
            for source, window in submitted.items():
                self._report.batch(
                    source.name, source.schema, self._delivery.acknowledged[source.name], window
                )

    def _add_new_sources(self, generations: Mapping[Source, Sequence[Snapshot]]) -> None:
        known = self._delivery.acknowledged
        oldest = {source: maps[0] for source, maps in generations.items() if source.name not in known}
        if oldest:
            self._delivery.add_sources(
                {source.name: self._first_baseline(source, snapshot) for source, snapshot in oldest.items()}
            )

    def _first_baseline(self, source: Source, snapshot: Snapshot) -> Baseline:
        map_id = snapshot.identity.map_id
        reported_since_ns = self._reported_maps.start_time_ns(map_id)
        if reported_since_ns is not None:
            other_source = known_as(self._delivery.acknowledged, snapshot.identity)
            self._telemetry.journals_lost += other_source is None
            log.warning(
                "%s: map id %d was reported before%s: %s",
                source.name,
                map_id,
                f", as {other_source}" if other_source else self._reported_maps.reported_by(map_id),
                CONSEQUENCES[self._temporality],
            )
        return first_baseline(snapshot, source.schema, self._temporality, reported_since_ns)

    def _advance(self, source: Source, snapshots: Sequence[Snapshot]) -> NextWindow:
        return delta.advance(
            self._delivery.acknowledged[source.name],
            snapshots,
            source.schema,
            include_idle=not self._delivery.collector_has_all_series,
        )

    def _probe(self, source: Source, window: NextWindow) -> NextWindow:
        baseline = self._delivery.acknowledged[source.name]
        return delta.probe(baseline, window.snapshots[-1], source.schema)

    def _submit(self, windows: Windows, snapshots: Readings) -> Windows:
        """Freeze and journal a batch; return the windows in it. Raise SidecarError if that fails."""
        with self._telemetry.stage("encode"):
            requests, windows = self._encode(windows)
        if windows:
            self._delivery.submit(
                Batch(requests, {source.name: window.baseline for source, window in windows.items()}),
                {source.name: snapshots[source.name] for source in windows},
                may_omit_idle=any(
                    idle.can_omit_idle(source.schema, len(window.series))
                    for source, window in windows.items()
                ),
            )
        return windows

    def _encode(self, windows: Windows) -> tuple[tuple[bytes, ...], Windows]:
        """Return the requests, and the windows in them: a source that cannot be encoded is left out."""
        try:
            requests = self._requests(windows)
        except SourceError:
            encodable = {
                source: window for source, window in windows.items() if self._is_encodable(source, window)
            }
            return self._requests(encodable), encodable
        for source in windows:
            self._works("encode", source.name)
        return requests, windows

    def _is_encodable(self, source: Source, window: NextWindow) -> bool:
        try:
            self._requests({source: window})
        except SourceError as error:
            self._fails("encode", error, source.name)
            return False
        self._works("encode", source.name)
        return True

    def _requests(self, windows: Windows) -> tuple[bytes, ...]:
        to_export = [(source.schema, window.to_export) for source, window in windows.items()]
        ended = [
            request
            for source, window in windows.items()
            if window.gone
            for request in no_recorded_value.requests(
                self._resource, source.schema, window.gone, window.baseline.end_ns
            )
        ]
        return (*encode(self._resource, self._temporality, to_export), *ended)

    def _send_if_due(self, *, timeout_s: float | None = None) -> Outcome | None:
        return self._send(timeout_s=timeout_s) if self._delivery.is_due else None

    def _send(self, *, timeout_s: float | None = None) -> Outcome | None:
        # Before any count can arrive, also if another process made the batch. A probe has no counts: if
        # nothing more is ever acknowledged, nothing was reported.
        if not self._delivery.needs_probe:
            self._reported_maps.mark(self._delivery.pending_baselines.values())
        outcome = self._delivery.send(timeout_s=timeout_s)
        for source in self._sources:
            baseline = self._delivery.acknowledged.get(source.name)
            if baseline:
                source.release(baseline.identity)
        if isinstance(outcome, Delivered):
            self._report.acknowledged()
            self._after_delivery()
        elif not self._delivery.has_pending:
            self._report.given_up()
        return outcome

    @property
    def _names(self) -> Sequence[str]:
        return [source.name for source in self._sources]

    def _fails(self, stage: str, error: SidecarError, source: str = "") -> None:
        if source:
            self._telemetry.read_failed(error)
        self._failures[source or "journal"] = error
        # With --once the first one ends the command, which prints it.
        if not self._is_once or len(self._failures) > 1:
            self._ongoing.holds((stage, source), str(error), source=source, level=logging.ERROR)

    def _works(self, stage: str, source: str = "") -> None:
        self._ongoing.ended((stage, source), _WORKS[stage], source=source)
