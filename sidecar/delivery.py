# SPDX-License-Identifier: Apache-2.0
"""
The one batch under way: written down, sent, and acknowledged or given up.

A window that was ever attempted is immutable: no answer but an acknowledgement says whether it was counted,
so nothing of it is ever merged into a later one. To a receiver that drops what it knows (base points are on)
every other answer means: the same points again. To others the specification holds: what it forbids to send
again is given up, and before counts are risked again a probe, a window without any, must be acknowledged.
docs/delivery.md goes through every point where this can be interrupted.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

from sidecar.errors import StateError
from sidecar.model import Baseline, Snapshot, Temporality
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp.message import LARGEST_REQUEST_BYTES
from sidecar.otlp.outcome import Delivered, Exporter, Outcome, Rejected, Retry
from sidecar.otlp.split import SMALLEST_BYTES, split
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 1.0
# Whatever the Collector says, it is not run over.
SHORTEST_PAUSE_S = 0.1
LARGEST_BACKOFF_S = 30.0
# RetryInfo may ask for more, but not for ever.
LONGEST_PAUSE_S = 300.0


class Clock(Protocol):
    """Time as delivery and pipeline see it: monotonic, in seconds."""

    def now(self) -> float:
        """Return the present time."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True, early, if the process is to stop."""


class Delivery:
    """Takes batches one at a time; the journal keeps what must not be forgotten."""

    def __init__(
        self,
        journal: Journal,
        pusher: Exporter,
        clock: Clock,
        temporality: Temporality,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Go on from the journal's record; raise StateError if it cannot be read."""
        self._telemetry = telemetry or Telemetry()
        self._journal = journal
        self._pusher = pusher
        self._clock = clock
        self._temporality = temporality
        self._record = journal.load()
        # Attempts since the last acknowledgement, and when the next one may be made.
        self._attempts = 0
        self._retry_at = 0.0
        # The most that the receiver is known to take in one request.
        self._most_bytes = LARGEST_REQUEST_BYTES
        if self.busy:
            self._telemetry.pending_since = clock.now()
            log.info("batch %d was not acknowledged: sending it again", self.sequence)

    @property
    def busy(self) -> bool:
        """Whether a batch is under way; only one can be."""
        return self._record.pending is not None

    @property
    def under_way(self) -> Mapping[str, Baseline]:
        """The baselines that the batch under way leads to; none if there is no batch."""
        return self._record.pending.baselines if self._record.pending else {}

    @property
    def sequence(self) -> int:
        """The number of the last batch."""
        return self._record.sequence

    @property
    def acknowledged(self) -> Mapping[str, Baseline]:
        """The baseline of each source, as of the last acknowledged batch."""
        return self._record.acknowledged

    @property
    def seen(self) -> Mapping[str, Sequence[Snapshot]]:
        """What each source was last read as, but for what was reported with an earlier batch."""
        return self._record.seen

    @property
    def retry_at(self) -> float:
        """When the next attempt may be made, on the clock: of the batch under way, or of a new one."""
        return self._retry_at

    @property
    def needs_probe(self) -> bool:
        """
        Whether the next batch may be refused for good, so that it should have no counts.

        Totals come again with the next batch, and with base points nothing is given up.
        """
        return self._temporality is Temporality.DELTA and not self._record.accepted

    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        """Take baselines as acknowledged for sources that are first met; the next batch writes them down."""
        self._record = replace(self._record, acknowledged={**self.acknowledged, **baselines})

    def submit(self, batch: Batch, seen: Mapping[str, Sequence[Snapshot]]) -> None:
        """
        Write a batch down, and the readings it was made of; from now on it is under way.

        Raises:
            StateError: It could not be written. It is not under way, and its counts are still in the map.

        """
        self._commit(
            replace(self._record, sequence=self.sequence + 1, pending=batch, seen={**self.seen, **seen})
        )
        self._telemetry.pending_since = self._clock.now()

    def keep_seen(self, readings: Mapping[str, Sequence[Snapshot]]) -> None:
        """
        Write down what the sources hold while a batch is under way: a reboot would take it otherwise.

        Raises:
            StateError: It could not be written.

        """
        self._commit(replace(self._record, seen={**self.seen, **readings}))

    def _commit(self, record: Record) -> None:
        with self._telemetry.stage("journal"):
            self._telemetry.journal_bytes = self._journal.commit(record)
        self._record = record

    def send(self, *, timeout_s: float | None = None) -> Outcome | None:
        """Send the batch under way once, if there is one, and act upon the answer; return the answer."""
        if self._record.pending is None:
            return None
        self._attempts += 1
        with self._telemetry.stage("send"):
            outcome = self._push_all(self._record.pending.requests, timeout_s)
        if isinstance(outcome, Delivered):
            self._delivered(outcome)
        elif isinstance(outcome, Retry):
            self._postpone(outcome, "retry", outcome.after_s)
        else:
            self._rejected(outcome)
        if not self.busy:
            self._telemetry.pending_since = None
        return outcome

    def _push_all(self, requests: Sequence[bytes], timeout_s: float | None) -> Outcome:
        rejected, said = 0, ""
        for request in chain.from_iterable(split(one, self._most_bytes) for one in requests):
            outcome = self._pusher.push(request, timeout_s=timeout_s)
            if isinstance(outcome, Rejected) and outcome.too_large:
                self._most_bytes = max(SMALLEST_BYTES, min(self._most_bytes, len(request)) // 2)
            if not isinstance(outcome, Delivered):
                return outcome
            rejected += outcome.rejected
            said = said or outcome.message
        return Delivered(rejected, said)

    def _delivered(self, outcome: Delivered) -> None:
        self._telemetry.batches["delivered"] += 1
        if self._attempts > 1:
            log.info("batch %d acknowledged at attempt %d", self.sequence, self._attempts)
        self._attempts, self._retry_at = 0, 0.0
        if outcome.rejected:
            self._telemetry.points_rejected += outcome.rejected
            log.error("the Collector refused %d points: %s", outcome.rejected, outcome.message)
        elif outcome.message:
            log.warning("the Collector says: %s", outcome.message)
        self._record = self._record.after_acknowledgement()
        try:
            self._journal.acknowledge()
        except StateError as error:
            # Only a restart before the next batch would notice, and send the same bytes again.
            log.warning("%s", error)

    def _rejected(self, outcome: Rejected) -> None:
        """Send it again to who drops what it knows; otherwise do as the specification demands: give it up."""
        if self._temporality is Temporality.DELTA_WITH_BASE:
            self._postpone(outcome, "refused", None)
            return
        self._telemetry.batches["given_up"] += 1
        pause_s = self._pause(None)
        log.error(
            "batch %d refused (%s: %s): given up, since it may have been counted; next attempt in %.1f s",
            self.sequence,
            outcome.code,
            outcome.message,
            pause_s,
        )
        record = self._record = self._record.after_give_up()
        try:
            self._commit(record)
        except StateError as error:
            # Only a restart before the next batch would notice, and send the same bytes again.
            log.warning("%s", error)

    def _postpone(self, outcome: Retry | Rejected, kind: str, after_s: float | None) -> None:
        self._telemetry.batches[kind] += 1
        log.warning(
            "batch %d not acknowledged (%s: %s): kept, next attempt in %.1f s",
            self.sequence,
            outcome.code,
            outcome.message,
            self._pause(after_s),
        )

    def _pause(self, after_s: float | None) -> float:
        """Let no attempt be made for a while; return for how long, seconds."""
        ceiling = min(LARGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._attempts - 1, 10))
        # Jitter below the cap, or all nodes would knock together.
        jittered_s = random.uniform(ceiling / 2, ceiling)  # noqa: S311
        pause_s = max(SHORTEST_PAUSE_S, min(LONGEST_PAUSE_S, jittered_s if after_s is None else after_s))
        self._retry_at = self._clock.now() + pause_s
        return pause_s
