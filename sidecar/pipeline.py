# SPDX-License-Identifier: Apache-2.0
"""
The way of the counts, and the only module that knows it.

    map → Source.read → delta.advance → otlp_encode.encode → Delivery.submit → Delivery.send → Collector

The kernel is the queue: the map keeps counting, so at most one batch is under way. It is frozen when it is
made, written down before it is sent, and sent, always the same bytes, until it is acknowledged; then the next
one starts where it ended. Whatever happens in between is still in the map.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sidecar.counts import delta, idle
from sidecar.delivery import Clock, Delivery
from sidecar.errors import NotAcknowledgedError, SidecarError, SourceError, explain
from sidecar.kernel import reported
from sidecar.model import Attribute, Baseline, Snapshot, Temporality
from sidecar.observe.falls import Falls
from sidecar.observe.summary import Summary, shared_series
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp import connections, no_recorded_value
from sidecar.otlp.encode import encode
from sidecar.otlp.outcome import LAST_TIMEOUT_S, Delivered, Outcome
from sidecar.sources.source import Source
from sidecar.state.record import Batch

log = logging.getLogger(__name__)

Readings = Mapping[str, Sequence[Snapshot]]


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
    ) -> None:
        """Take opened sources; *after_delivery* is called when a batch was acknowledged."""
        self._after_delivery = after_delivery
        self._telemetry = telemetry or Telemetry()
        self._sources = sources
        self._resource = resource
        self._temporality = temporality
        self._delivery = delivery
        self._clock = clock
        self._summary = Summary()
        self._falls = Falls()
        self._marked: set[int] = set()
        self._shared: set[int] = set()
        # Whether series of the batch under way could be left out, and what is known if so.
        self._quiet = False
        self._view = idle.CollectorView()

    def run(self, interval_s: float) -> None:
        """Make a cycle each *interval_s* seconds until the clock says stop; then a last one."""
        next_cycle = self._clock.now()
        stopping = False
        while not stopping:
            now = self._telemetry.turned_at = self._clock.now()
            if now >= next_cycle:
                self.cycle()
                # A cycle that took longer than the interval is not made up for.
                next_cycle = max(next_cycle + interval_s, self._clock.now())
            else:
                self._send_if_due()
            wake = min(next_cycle, self._delivery.retry_at) if self._delivery.busy else next_cycle
            stopping = self._clock.wait(max(0.0, wake - self._clock.now()))
        self._shutdown()

    def once(self) -> None:
        """
        Make one cycle and have it acknowledged, and before it what the last sidecar left.

        Raises:
            NotAcknowledgedError: The Collector did not take it; the journal keeps the batch.
            SidecarError: A source could not be read, or the journal not be written.

        """
        outcome = self._send()
        if not self._delivery.busy:
            readings = {source.name: source.read() for source in self._sources}
            self._report(readings)
            outcome = self._keep_and_send(readings)
        if not isinstance(outcome, Delivered):
            raise NotAcknowledgedError(
                f"send batch {self._delivery.sequence}",
                f"{outcome.code}: {outcome.message}" if outcome else "nothing to send",
                "check the Collector and run again" + ("; the batch is kept" if self._delivery.busy else ""),
            )

    def cycle(self) -> None:
        """Read; send what is under way, if its time has come; then freeze and send a new batch."""
        readings = self._read()
        self._report(readings)
        self._send_if_due()
        written = self._kept_or_logged(readings)
        self._telemetry.ready = written and len(readings) == len(self._sources)

    def _read(self) -> Readings:
        readings: dict[str, Sequence[Snapshot]] = {}
        with self._telemetry.stage("read"):
            for source in self._sources:
                try:
                    readings[source.name] = source.read()
                except SidecarError as error:
                    self._telemetry.read_failed(error)
                    log.error("%s", error)
        return readings

    def _report(self, readings: Readings) -> None:
        for source in self._sources:
            if source.name in readings:
                line = self._summary.line(source.name, source.schema, readings[source.name][-1])
                log.info("%s%s", f"{source.name}: " if len(self._sources) > 1 else "", line)

    def _kept_or_logged(self, readings: Readings, *, timeout_s: float | None = None) -> bool:
        try:
            self._keep_and_send(readings, timeout_s=timeout_s)
        except SidecarError as error:
            # Not written, so not sent: the counts are still in the map, and the next cycle has them.
            log.error("%s", error)
            return False
        return True

    def _keep_and_send(self, readings: Readings, *, timeout_s: float | None = None) -> Outcome | None:
        """Write the readings down and send them, a probe first if need be; raise SidecarError if not."""
        probing = self._delivery.needs_probe
        self._record(readings)
        outcome = self._send_if_due(timeout_s=timeout_s)
        if probing and not self._delivery.needs_probe:
            self._record(readings)
            outcome = self._send_if_due(timeout_s=timeout_s)
        return outcome

    def _record(self, readings: Readings) -> None:
        """Write the readings down, as a new batch if one may be made; raise SidecarError if that fails."""
        generations = {
            source: delta.generations(self._delivery.seen.get(source.name, ()), readings[source.name])
            for source in self._sources
            if source.name in readings
        }
        self._adopt(generations)
        steps = {source: self._advance(source, snapshots) for source, snapshots in generations.items()}
        self._telemetry.sources = [(source.schema, step.series) for source, step in steps.items()]
        seen = {source.name: step.snapshots for source, step in steps.items()}
        if self._delivery.busy or self._clock.now() < self._delivery.retry_at:
            self._delivery.keep_seen(seen)
        elif self._delivery.needs_probe:
            self._freeze({source: self._probe(source, step) for source, step in steps.items()}, seen)
        else:
            self._note(self._freeze(steps, seen))

    def _adopt(self, generations: Mapping[Source, Sequence[Snapshot]]) -> None:
        known = self._delivery.acknowledged
        first = {source: maps[0] for source, maps in generations.items() if source.name not in known}
        if first:
            self._delivery.adopt(
                {source.name: self._first_baseline(source, first[source]) for source in first}
            )

    def _advance(self, source: Source, snapshots: Sequence[Snapshot]) -> delta.NextWindow:
        return delta.advance(
            self._delivery.acknowledged[source.name],
            snapshots,
            source.schema,
            include_idle=not self._view.has_all_series,
        )

    def _probe(self, source: Source, step: delta.NextWindow) -> delta.NextWindow:
        baseline = self._delivery.acknowledged[source.name]
        return delta.probe(baseline, step.snapshots[-1], source.schema)

    def _freeze(
        self, steps: Mapping[Source, delta.NextWindow], seen: Readings
    ) -> Mapping[Source, delta.NextWindow]:
        """Put a batch under way and return the steps in it; raise SidecarError if that cannot be done."""
        with self._telemetry.stage("encode"):
            requests, steps = self._encode(steps)
        if not steps:
            return steps
        self._delivery.submit(
            Batch(requests, {source.name: step.baseline for source, step in steps.items()}),
            {source.name: seen[source.name] for source in steps},
        )
        self._view = self._view.frozen()
        self._quiet = any(
            idle.can_omit_idle(source.schema, len(step.series)) for source, step in steps.items()
        )
        return steps

    def _note(self, steps: Mapping[Source, delta.NextWindow]) -> None:
        for source, step in steps.items():
            self._telemetry.record(source.name, source.schema, step)
            self._falls.log(source.name, source.schema, step)
            self._log_shared(source, step)

    def _log_shared(self, source: Source, step: delta.NextWindow) -> None:
        """Say, once of a map, that keys share series although nobody asked for that."""
        newest = step.snapshots[-1]
        keys, map_id = len(newest.reading.cells), newest.identity.map_id
        shared = shared_series(source.schema, keys, len(step.series)) if not step.overflowed else ""
        if shared and map_id not in self._shared:
            self._shared.add(map_id)
            log.warning("%s: %s", source.name, shared)

    def _encode(
        self, steps: Mapping[Source, delta.NextWindow]
    ) -> tuple[tuple[bytes, ...], Mapping[Source, delta.NextWindow]]:
        """Return the requests, and the steps that are in them: a source that cannot be said is left out."""
        try:
            return self._requests(steps), steps
        except SourceError:
            encodable = {source: step for source, step in steps.items() if self._is_encodable(source, step)}
            return self._requests(encodable), encodable

    def _requests(self, steps: Mapping[Source, delta.NextWindow]) -> tuple[bytes, ...]:
        measured = [(source.schema, step.to_export) for source, step in steps.items()]
        ended = [
            request
            for source, step in steps.items()
            for request in no_recorded_value.requests(
                self._resource, source.schema, step.gone, step.baseline.end_ns
            )
        ]
        return (*encode(self._resource, self._temporality, measured), *ended)

    def _is_encodable(self, source: Source, step: delta.NextWindow) -> bool:
        try:
            self._requests({source: step})
        except SourceError as error:
            self._telemetry.read_failed(error)
            log.error("%s: %s", source.name, error)
            return False
        return True

    def _first_baseline(self, source: Source, snapshot: Snapshot) -> Baseline:
        start_time_ns = reported.start_time_ns(snapshot.identity.map_id)
        if start_time_ns is not None:
            self._telemetry.journals_lost += 1
            log.warning(
                "%s: map id %d was reported before, but the journal is lost: what it counted since the last "
                "report may be missing; nothing is counted twice",
                source.name,
                snapshot.identity.map_id,
            )
            if self._temporality is Temporality.DELTA:
                return delta.from_now_on(snapshot)
            snapshot = replace(snapshot, counting_since_ns=start_time_ns)
        if self._temporality is Temporality.DELTA_WITH_BASE:
            return delta.as_reported(snapshot, source.schema)
        return delta.since_birth(snapshot)

    def _mark_reported(self, baseline: Baseline) -> None:
        map_id = baseline.identity.map_id
        if map_id in self._marked:
            return
        try:
            reported.mark(map_id, baseline.start_time_ns)
        except OSError as error:
            log.warning(
                "remember in bpffs that map id %d is reported: %s: should the state directory be lost, "
                "its counts may be sent a second time",
                map_id,
                explain(error),
            )
        self._marked.add(map_id)

    def _send_if_due(self, *, timeout_s: float | None = None) -> Outcome | None:
        if self._delivery.busy and self._clock.now() >= self._delivery.retry_at:
            return self._send(timeout_s=timeout_s)
        return None

    def _send(self, *, timeout_s: float | None = None) -> Outcome | None:
        # Before anything of them can be counted, whichever process it was that made the batch; a probe has
        # no counts, and whoever never took more leaves nothing to be remembered.
        if not self._delivery.needs_probe:
            for under_way in self._delivery.under_way.values():
                self._mark_reported(under_way)
        outcome = self._delivery.send(timeout_s=timeout_s)
        for source in self._sources:
            baseline = self._delivery.acknowledged.get(source.name)
            if baseline:
                source.release(baseline.identity)
        if outcome:
            clean = isinstance(outcome, Delivered) and not outcome.rejected
            self._view = (
                self._view.after_response(connections.present(), clean=clean)
                if self._quiet
                else idle.CollectorView()
            )
        if isinstance(outcome, Delivered):
            self._after_delivery()
        return outcome

    def _shutdown(self) -> None:
        """Send what is under way and one last batch, each with a short deadline."""
        self._send(timeout_s=LAST_TIMEOUT_S)
        self._kept_or_logged(self._read(), timeout_s=LAST_TIMEOUT_S)
