# SPDX-License-Identifier: Apache-2.0
"""
One batch: journaled, sent, resent until it is acknowledged, or given up.

A window that was sent once is immutable: only an acknowledgement says whether it was counted, so no part of
it is ever merged into a later window. A receiver that drops known points (`Temporality.DELTA_WITH_BASE`) is
sent the same points again after any other response. For all others the specification holds: a batch that must
not be resent is given up, and before counts are risked again a probe, a window without counts, must be
acknowledged. docs/delivery.md goes through every point where this can be interrupted.
"""

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

from sidecar.counts.idle import CollectorView
from sidecar.errors import StateError
from sidecar.model import Baseline, Snapshot, Temporality
from sidecar.observe.ongoing import Ongoing
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp import connections
from sidecar.otlp.message import LARGEST_REQUEST_BYTES
from sidecar.otlp.outcome import Delivered, Exporter, Outcome, Rejected, Retry
from sidecar.otlp.split import SMALLEST_BYTES, split
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record

log = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 1.0
_LARGEST_BACKOFF_S = 30.0
# The Collector's RetryInfo is followed within these bounds: it is neither flooded nor waited for without end.
_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 300.0
_UNDELIVERED, _UNRECORDED = "undelivered", "unrecorded"
_UNKNOWN = CollectorView()


class Clock(Protocol):
    """Monotonic time, in seconds."""

    def now(self) -> float:
        """Return the present time."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True, early, if the process is to stop."""


class Delivery:
    """
    Deliver one batch at a time; the journal keeps it until it is acknowledged or given up.

    Whether, when and in requests of which size a batch is resent is decided here and nowhere else.
    """

    def __init__(
        self,
        journal: Journal,
        pusher: Exporter,
        clock: Clock,
        temporality: Temporality,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Continue from the journal's record; raise StateError if it cannot be read."""
        self._telemetry = telemetry or Telemetry()
        self._journal = journal
        self._pusher = pusher
        self._clock = clock
        self._temporality = temporality
        self._record = journal.load()
        # Attempts since the last acknowledgement, and when the next one may be made.
        self._attempts = 0
        self._retry_at = 0.0
        # The largest request that the receiver is known to accept.
        self._most_bytes = LARGEST_REQUEST_BYTES
        # Which series the Collector has, tracked only while there are enough of them to omit idle ones.
        self._may_omit_idle = False
        self._view = _UNKNOWN
        self._ongoing = Ongoing(clock.now)
        if self.has_pending:
            self._telemetry.pending_since = clock.now()
            log.info("batch %d was not acknowledged before the restart: resending it", self.sequence)

    def __repr__(self) -> str:
        completed = "acknowledged" if self._record.accepted else "not acknowledged"
        state = "pending" if self.has_pending else completed
        pause_s = max(0.0, self._retry_at - self._clock.now())
        attempts = f"attempts: {self._attempts}, next in {pause_s:.1f} s"
        return f"<{type(self).__name__} [batch {self.sequence}: {state}, {attempts}]>"

    @property
    def has_pending(self) -> bool:
        """Whether a batch waits for its acknowledgement; there is never more than one."""
        return self._record.pending is not None

    @property
    def pending_baselines(self) -> Mapping[str, Baseline]:
        """The baseline of each source once the pending batch is acknowledged; empty without one."""
        return self._record.pending.baselines if self._record.pending else {}

    @property
    def sequence(self) -> int:
        """The number of the last batch."""
        return self._record.sequence

    @property
    def acknowledged(self) -> Mapping[str, Baseline]:
        """The baseline of each source as of the last acknowledged batch."""
        return self._record.acknowledged

    @property
    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]:
        """The last snapshots of each source's maps that the journal holds."""
        return self._record.snapshots

    @property
    def collector_has_all_series(self) -> bool:
        """Whether idle series may be omitted from the next batch."""
        return self._view.has_all_series

    @property
    def needs_probe(self) -> bool:
        """
        Whether the next batch should have no counts, since it may be refused for good.

        Cumulative totals come again with the next batch, and with base points nothing is given up.
        """
        return self._temporality is Temporality.DELTA and not self._record.accepted

    @property
    def can_submit(self) -> bool:
        """Whether a new batch may be submitted: none is pending, and no backoff is in force."""
        return not self.has_pending and self._clock.now() >= self._retry_at

    @property
    def resend_at(self) -> float:
        """When the pending batch may be sent again, on the clock; infinity without one."""
        return self._retry_at if self.has_pending else math.inf

    @property
    def is_due(self) -> bool:
        """Whether a batch is pending and may be sent now."""
        return self._clock.now() >= self.resend_at

    def add_sources(self, baselines: Mapping[str, Baseline]) -> None:
        """Take the baselines of new sources as acknowledged; the next commit writes them to the journal."""
        self._record = replace(self._record, acknowledged={**self.acknowledged, **baselines})

    def retain(self, retained: Callable[[Record], Record], fields: Mapping[str, Mapping[str, str]]) -> None:
        """
        Continue with the sources of another configuration; no batch may be pending.

        Args:
            retained: Returns the part of the record that is kept, as after a restart.
            fields: The fields that have another name now, from old to new, by source.

        """
        record = retained(self._record.with_fields_renamed(fields))
        self._settle(record, lambda: self._write(record))

    def submit(
        self, batch: Batch, snapshots: Mapping[str, Sequence[Snapshot]], *, may_omit_idle: bool = False
    ) -> None:
        """
        Journal a batch and the snapshots it was made of; from then on it is pending.

        Args:
            batch: The batch.
            snapshots: The snapshots, by source.
            may_omit_idle: Whether some source has so many series that idle ones may be omitted.

        Raises:
            StateError: It could not be written. It is not pending, and its counts are still in the maps.

        """
        held = {**self.snapshots, **snapshots}
        before = self._record
        self._commit(Record(before.sequence + 1, before.acknowledged, batch, held, before.accepted))
        self._telemetry.pending_since = self._clock.now()
        self._may_omit_idle = may_omit_idle
        if may_omit_idle:
            self._view = self._view.after_submit()

    def record_snapshots(self, snapshots: Mapping[str, Sequence[Snapshot]]) -> None:
        """
        Journal what the maps hold while no new batch can be submitted: a reboot would lose it otherwise.

        Raises:
            StateError: It could not be written.

        """
        self._commit(replace(self._record, snapshots={**self.snapshots, **snapshots}))

    def send(self, *, timeout_s: float | None = None) -> Outcome | None:
        """
        Send the pending batch once, if there is one, and decide by the response what becomes of it.

        *timeout_s* shortens the deadline of each request. Returns the response.
        """
        if self._record.pending is None:
            return None
        self._attempts += 1
        with self._telemetry.stage("send"):
            outcome = self._push_all(self._record.pending.requests, timeout_s)
        if isinstance(outcome, Delivered):
            self._acknowledge(outcome)
        elif self._may_resend(outcome):
            self._postpone(outcome)
        else:
            self._give_up(outcome)
        self._update_view(outcome)
        if not self.has_pending:
            self._telemetry.pending_since = None
        return outcome

    def _may_resend(self, outcome: Retry | Rejected) -> bool:
        """Return whether the same points may be sent again: a receiver that drops known ones may get any."""
        return isinstance(outcome, Retry) or self._temporality is Temporality.DELTA_WITH_BASE

    def _push_all(self, requests: Sequence[bytes], timeout_s: float | None) -> Outcome:
        rejected, message = 0, ""
        for request in chain.from_iterable(split(each, self._most_bytes) for each in requests):
            outcome = self._pusher.push(request, timeout_s=timeout_s)
            self._telemetry.progressed()
            if isinstance(outcome, Rejected) and outcome.too_large:
                self._most_bytes = max(SMALLEST_BYTES, min(self._most_bytes, len(request)) // 2)
            if not isinstance(outcome, Delivered):
                return outcome
            rejected += outcome.rejected
            message = message or outcome.message
        return Delivered(rejected, message)

    def _acknowledge(self, outcome: Delivered) -> None:
        self._telemetry.batches["delivered"] += 1
        self._ongoing.ended(_UNDELIVERED, f"batch {self.sequence} acknowledged")
        self._attempts, self._retry_at = 0, 0.0
        if outcome.rejected:
            self._telemetry.points_rejected += outcome.rejected
            log.error("the Collector refused %d points: %s", outcome.rejected, outcome.message)
        elif outcome.message:
            log.warning("the Collector warns: %s", outcome.message)
        self._settle(self._record.after_acknowledgement(), self._journal.acknowledge)

    def _postpone(self, outcome: Retry | Rejected) -> None:
        kind, after_s = ("retry", outcome.after_s) if isinstance(outcome, Retry) else ("refused", None)
        self._telemetry.batches[kind] += 1
        self._pause(after_s)
        self._undelivered(outcome, "not acknowledged", "kept until it is")

    def _give_up(self, outcome: Retry | Rejected) -> None:
        self._telemetry.batches["given_up"] += 1
        self._pause(None)
        if self.needs_probe:
            self._undelivered(outcome, "refused", "it has no counts: they wait in the kernel")
        else:
            self._undelivered(outcome, "refused", "given up, since it may have been counted", logging.ERROR)
        record = self._record.after_give_up()
        self._settle(record, lambda: self._write(record))

    def _undelivered(
        self, outcome: Retry | Rejected, what: str, fate: str, level: int = logging.WARNING
    ) -> None:
        text = f"batch {self.sequence} {what}: {outcome.reason}: {outcome.remedy}; {fate}"
        reason = f"{fate} {outcome.cause or outcome.reason}"
        self._ongoing.holds(_UNDELIVERED, text, reason=reason, level=level)

    def _settle(self, record: Record, write: Callable[[], None]) -> None:
        """Hold *record*, in which no batch is pending; only log it if the journal cannot be written."""
        self._record = record
        try:
            write()
        except StateError as error:
            # It matters only if the process restarts before the next batch: the same bytes are sent again.
            self._ongoing.holds(_UNRECORDED, str(error))
        else:
            self._ongoing.ended(_UNRECORDED, "journal written again")

    def _commit(self, record: Record) -> None:
        self._write(record)
        self._record = record

    def _write(self, record: Record) -> None:
        with self._telemetry.stage("journal"):
            self._telemetry.journal_bytes = self._journal.commit(record)

    def _update_view(self, outcome: Outcome) -> None:
        if not self._may_omit_idle:
            self._view = _UNKNOWN
            return
        clean = isinstance(outcome, Delivered) and not outcome.rejected
        self._view = self._view.after_response(connections.present(), clean=clean)

    def _pause(self, after_s: float | None) -> None:
        """
        Start the pause before the next attempt.

        *after_s* is the delay that the Collector asked for, if any (RetryInfo), seconds; otherwise it is a
        backoff.
        """
        ceiling_s = min(_LARGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(self._attempts - 1, 10))
        # The jitter lies below the cap, or all nodes would retry at the same time once they reach it.
        jittered_s = random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311
        pause_s = max(_SHORTEST_PAUSE_S, min(_LONGEST_PAUSE_S, jittered_s if after_s is None else after_s))
        log.debug("batch %d: next attempt in %.1f s", self.sequence, pause_s)
        self._retry_at = self._clock.now() + pause_s
