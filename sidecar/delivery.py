# SPDX-License-Identifier: Apache-2.0
"""
The one batch under way: written down, sent, and settled.

Every answer is one of three: the batch is acknowledged, it is kept and sent again, the same bytes, or it is
given up. docs/delivery.md goes through every point where this can be interrupted.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sidecar.errors import StateError
from sidecar.journal import Journal
from sidecar.journal_format import settled
from sidecar.model import Baseline, Batch, Record, Snapshot
from sidecar.otlp_push import Delivered, Outcome, Pusher, Rejected, Retry
from sidecar.telemetry import Telemetry

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 1.0
# Whatever the Collector says, it is not run over.
SHORTEST_PAUSE_S = 0.1
LARGEST_BACKOFF_S = 30.0


class Clock(Protocol):
    """Time as delivery and pipeline see it: monotonic, in seconds."""

    def now(self) -> float:
        """Return the present time."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True, early, if the process is to stop."""


class Delivery:
    """Takes batches one at a time; the journal keeps what must not be forgotten."""

    def __init__(
        self, journal: Journal, pusher: Pusher, clock: Clock, telemetry: Telemetry | None = None
    ) -> None:
        """Go on from the journal's record; raise StateError if it cannot be read."""
        self._telemetry = telemetry or Telemetry()
        self._journal = journal
        self._pusher = pusher
        self._clock = clock
        self._record = journal.load()
        self._attempts = 0
        self._retry_at = 0.0
        # Whether some of the batch may have been counted although no acknowledgement came.
        self._in_doubt = self.busy
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
        """When the batch under way may be sent again, on the clock."""
        return self._retry_at

    def adopt(self, source: str, baseline: Baseline) -> None:
        """Take a baseline as acknowledged for a source that is first met; the next batch writes it down."""
        self._record = replace(self._record, acknowledged={**self.acknowledged, source: baseline})

    def submit(self, batch: Batch, seen: Mapping[str, Sequence[Snapshot]]) -> None:
        """
        Write a batch down, and the readings it was made of; from now on it is under way.

        Raises:
            StateError: It could not be written. It is not under way, and its counts are still in the map.

        """
        record = Record(self.sequence + 1, self.acknowledged, batch, {**self.seen, **seen})
        self._commit(record)
        self._attempts = 0
        self._retry_at = 0.0
        self._in_doubt = False
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
        """Send the batch under way once, if there is one, and settle it by the answer; return the answer."""
        if self._record.pending is None:
            return None
        self._attempts += 1
        with self._telemetry.stage("send"):
            outcome = self._push_all(self._record.pending.requests, timeout_s)
        if isinstance(outcome, Delivered):
            self._delivered(outcome)
        elif isinstance(outcome, Retry):
            self._in_doubt |= not outcome.definite
            self._postpone(outcome, outcome.after_s)
        else:
            self._rejected(outcome)
        if not self.busy:
            self._telemetry.pending_since = None
        return outcome

    def _push_all(self, requests: Sequence[bytes], timeout_s: float | None) -> Outcome:
        rejected, said = 0, ""
        for request in requests:
            outcome = self._pusher.push(request, timeout_s=timeout_s)
            if not isinstance(outcome, Delivered):
                return outcome
            # From here on a refusal of a later request leaves this one counted.
            self._in_doubt = True
            rejected += outcome.rejected
            said = said or outcome.message
        return Delivered(rejected, said)

    def _delivered(self, outcome: Delivered) -> None:
        self._telemetry.batches["delivered"] += 1
        if self._attempts > 1:
            log.info("batch %d acknowledged at attempt %d", self.sequence, self._attempts)
        if outcome.rejected:
            self._telemetry.points_rejected += outcome.rejected
            log.error("the Collector refused %d points: %s", outcome.rejected, outcome.message)
            # Nobody says which: no series may be taken for known.
            self._decide(settled(self._record, certain=False))
            return
        if outcome.message:
            log.warning("the Collector says: %s", outcome.message)
        self._record = settled(self._record)
        try:
            self._journal.acknowledge()
        except StateError as error:
            # Only a restart before the next batch would notice, and send the same bytes again.
            log.warning("%s", error)

    def _decide(self, record: Record) -> None:
        self._record = record
        try:
            self._commit(record)
        except StateError as error:
            # Only a restart before the next batch would notice, and send the same bytes again.
            log.warning("%s", error)

    def _postpone(self, outcome: Retry | Rejected, after_s: float | None) -> None:
        self._telemetry.batches["retry"] += 1
        ceiling = min(LARGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._attempts - 1, 10))
        # Jitter below the cap, or all nodes would knock together.
        jittered_s = random.uniform(ceiling / 2, ceiling)  # noqa: S311
        pause_s = max(SHORTEST_PAUSE_S, jittered_s if after_s is None else after_s)
        self._retry_at = self._clock.now() + pause_s
        log.warning(
            "batch %d not acknowledged (%s: %s): kept, next attempt in %.1f s",
            self.sequence,
            outcome.code,
            outcome.message,
            pause_s,
        )

    def _rejected(self, outcome: Rejected) -> None:
        """
        Give the batch up, as the specification demands: these bytes are not sent again.

        If it is sure that nothing of it was counted, the baseline stays and its counts go out with the next
        batch. If not, the batch is kept while the endpoint refuses us as such (credentials), and otherwise
        the baseline moves on: a loss that is logged and counted, never a double count.
        """
        if self._in_doubt and outcome.access:
            self._postpone(outcome, None)
            return
        if outcome.definite and not self._in_doubt:
            decided, kind = replace(self._record, pending=None), "refused"
            fate = "its counts go out with the next batch"
        else:
            decided, kind = settled(self._record, certain=False), "given_up"
            fate = "it may have been counted, so its counts are not sent again"
        self._telemetry.batches[kind] += 1
        log.error("batch %d refused (%s: %s): %s", self.sequence, outcome.code, outcome.message, fate)
        self._decide(decided)
