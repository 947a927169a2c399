# SPDX-License-Identifier: Apache-2.0
"""
The way of the counts, and the only module that knows it.

    map → Source.read → delta.advance → otlp_encode.encode → Journal.commit → Pusher.push → Collector

The kernel is the queue: the map keeps counting, so at most one batch is under way. It is frozen when it is
made, written down before it is sent, and sent, always the same bytes, until it is acknowledged; then the next
one starts where it ended. Whatever happens in between is still in the map.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from sidecar.delta import advance
from sidecar.errors import NotAcknowledgedError, SidecarError
from sidecar.journal import Journal
from sidecar.journal_format import settled
from sidecar.model import Attribute, Baseline, Batch, Increment, Record, Snapshot
from sidecar.otlp_encode import encode
from sidecar.otlp_push import Delivered, Outcome, Pusher, Rejected, Retry
from sidecar.profile import Profile
from sidecar.source import Source
from sidecar.summary import field_sums, summary

log = logging.getLogger(__name__)

Readings = Mapping[str, Sequence[Snapshot]]

FIRST_BACKOFF_S = 1.0
LARGEST_BACKOFF_S = 30.0
# SIGTERM to exit takes at most two calls of this long, plus reading and writing: under 5 s.
FAREWELL_TIMEOUT_S = 2.0


class Clock(Protocol):
    """Time as the pipeline sees it; monotonic, in seconds."""

    def now(self) -> float:
        """Return the present time."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True, early, if the process is to stop."""


class Pipeline:
    """Carry counts from sources to one endpoint."""

    def __init__(
        self,
        sources: Sequence[Source],
        profile: Profile,
        resource: Sequence[Attribute],
        journal: Journal,
        pusher: Pusher,
        clock: Clock,
    ) -> None:
        """Take opened sources; continue from the journal's record."""
        self._sources = sources
        self._profile = profile
        self._resource = resource
        self._journal = journal
        self._pusher = pusher
        self._clock = clock
        self._record = journal.load()
        self._attempts = 0
        self._ambiguous = False
        self._retry_at = 0.0
        self._last_line: dict[str, tuple[int, int]] = {}
        if self._record.pending:
            # It may have been sent, and even counted, before the last sidecar ended.
            self._ambiguous = True
            log.info("batch %d was not acknowledged: sending it again", self._record.sequence)

    def run(self, interval_s: float) -> None:
        """Make a cycle each *interval_s* seconds until the clock says stop; then a last one."""
        next_cycle = self._clock.now()
        stopping = False
        while not stopping:
            now = self._clock.now()
            if now >= next_cycle:
                self.cycle()
                # A cycle that took longer than the interval is not made up for.
                next_cycle = max(next_cycle + interval_s, self._clock.now())
            elif self._record.pending and now >= self._retry_at:
                self._send()
            wake = min(next_cycle, self._retry_at) if self._record.pending else next_cycle
            stopping = self._clock.wait(max(0.0, wake - self._clock.now()))
        self._farewell()

    def once(self) -> None:
        """
        Make one cycle and have it acknowledged, and before it what the last sidecar left.

        Raises:
            NotAcknowledgedError: The Collector did not take it; the journal keeps the batch.
            SidecarError: A source could not be read.

        """
        outcome = self._send() if self._record.pending else None
        if not self._record.pending:
            readings = {source.name: source.read() for source in self._sources}
            self._report(readings)
            self._freeze(readings)
            outcome = self._send()
        if not isinstance(outcome, Delivered):
            raise NotAcknowledgedError(
                f"send batch {self._record.sequence}",
                f"{outcome.code}: {outcome.message}" if outcome else "nothing was sent",
                "it is kept; check the Collector and run again",
            )

    def cycle(self) -> None:
        """Read; send what is under way, if its time has come; then freeze and send a new batch."""
        readings = self._read()
        self._report(readings)
        if self._record.pending and self._clock.now() >= self._retry_at:
            self._send()
        if self._record.pending is None:
            self._try_freeze(readings)
            self._send()

    def _read(self) -> Readings:
        readings: dict[str, Sequence[Snapshot]] = {}
        for source in self._sources:
            try:
                readings[source.name] = source.read()
            except SidecarError as error:  # noqa: PERF203
                log.error("%s", error)
        return readings

    def _report(self, readings: Readings) -> None:
        for name, snapshots in readings.items():
            layout, newest = self._profile.layout, snapshots[-1]
            line = summary(layout, newest, self._last_line.get(name))
            self._last_line[name] = (newest.taken_ns, field_sums(layout, newest)["total_packets"])
            log.info("%s%s", f"{name}: " if len(self._sources) > 1 else "", line)

    def _try_freeze(self, readings: Readings) -> None:
        try:
            self._freeze(readings)
        except SidecarError as error:
            # Not written, so not sent: the counts are still in the map, and the next cycle has them.
            log.error("%s", error)

    def _freeze(self, readings: Readings) -> None:
        """Make a batch and write it down; raise StateError if it cannot be written."""
        increments: list[Increment] = []
        baselines: dict[str, Baseline] = {}
        for source in self._sources:
            if source.name not in readings:
                continue
            step = advance(self._record.acknowledged.get(source.name), readings[source.name])
            for key in step.emptied:
                log.warning("%s: entry 0x%s went back: somebody emptied the map", source.name, key.hex())
            baselines[source.name] = step.baseline
            increments += [
                Increment(source.attributes, step.start_ns, step.baseline.end_ns, counts)
                for counts in step.counts.values()
            ]
        requests = encode(self._resource, self._profile, increments)
        if not requests:
            return
        record = Record(self._record.sequence + 1, self._record.acknowledged, Batch(requests, baselines))
        self._journal.commit(record)
        self._record = record
        self._attempts = 0
        self._ambiguous = False
        self._retry_at = 0.0

    def _send(self, *, timeout_s: float | None = None) -> Outcome | None:
        """Send the pending batch once; return its outcome, that of the first request that failed if any."""
        if self._record.pending is None:
            return None
        self._attempts += 1
        outcome: Outcome = Delivered()
        for request in self._record.pending.requests:
            outcome = self._pusher.push(request, timeout_s=timeout_s)
            if not isinstance(outcome, Delivered):
                break
            # From here on a refusal of a later request leaves this one counted.
            self._ambiguous = True
            if outcome.rejected or outcome.message:
                log.warning("the Collector refused %d points: %s", outcome.rejected, outcome.message)
        if isinstance(outcome, Delivered):
            self._delivered()
        elif isinstance(outcome, Retry):
            self._postpone(outcome)
        else:
            self._rejected(outcome)
        return outcome

    def _delivered(self) -> None:
        if self._attempts > 1:
            log.info("batch %d acknowledged at attempt %d", self._record.sequence, self._attempts)
        self._settle()
        try:
            self._journal.acknowledge()
        except SidecarError as error:
            # Only a restart before the next batch would notice, and send the same bytes again.
            log.warning("%s", error)

    def _postpone(self, outcome: Retry) -> None:
        self._ambiguous = True
        ceiling = min(LARGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._attempts - 1, 10))
        pause = outcome.after_s if outcome.after_s is not None else random.uniform(ceiling / 2, ceiling)  # noqa: S311
        self._retry_at = self._clock.now() + pause
        log.warning(
            "batch %d not acknowledged (%s: %s): kept, next attempt in %.1f s",
            self._record.sequence,
            outcome.code,
            outcome.message,
            pause,
        )

    def _rejected(self, outcome: Rejected) -> None:
        """
        Give the batch up, as the specification demands: these bytes are not sent again.

        If it is sure that nothing of it was counted, the baseline stays, and its counts go out in the next
        batch. Otherwise the baseline moves on: a loss that is logged, never a double count.
        """
        if outcome.definite and not self._ambiguous:
            self._record = Record(self._record.sequence, self._record.acknowledged, None)
            kept = "its counts go out with the next batch"
        else:
            self._settle()
            kept = "it may have been counted, so its counts are not sent again"
        log.error("batch %d refused (%s: %s): %s", self._record.sequence, outcome.code, outcome.message, kept)

    def _settle(self) -> None:
        self._record = settled(self._record)
        for source in self._sources:
            baseline = self._record.acknowledged.get(source.name)
            if baseline:
                source.release(baseline.identity)

    def _farewell(self) -> None:
        """Send what is under way and one last batch, each with a short deadline."""
        if self._record.pending:
            self._send(timeout_s=FAREWELL_TIMEOUT_S)
        if self._record.pending is None:
            self._try_freeze(self._read())
            self._send(timeout_s=FAREWELL_TIMEOUT_S)
