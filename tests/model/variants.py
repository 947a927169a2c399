# SPDX-License-Identifier: Apache-2.0
"""Delivery rules that look as good as ours, and are not."""

from dataclasses import replace
from typing import Any

from sidecar.delivery import Delivery
from sidecar.model import Batch, Record
from sidecar.otlp_push import Outcome, Retry


class Merging(Delivery):
    """A batch that is not acknowledged is made again, with what was counted meanwhile."""

    def send(self, **options: Any) -> Outcome | None:
        outcome = super().send(**options)
        if isinstance(outcome, Retry):
            self._record = replace(self._record, pending=None)
        return outcome


class WrittenAfter(Delivery):
    """The journal is written once the answer is there."""

    def submit(self, batch: Batch, *_: Any) -> None:
        self._record = Record(self.sequence + 1, self.acknowledged, batch, self.seen)
        self._attempts, self._retry_at, self._in_doubt = 0, 0.0, False

    def send(self, **options: Any) -> Outcome | None:
        was_busy = self.busy
        outcome = super().send(**options)
        if was_busy and not self.busy:
            self._journal.commit(self._record)
        return outcome


class AcknowledgedFirst(Delivery):
    """The mark is set before the answer is there."""

    def send(self, **options: Any) -> Outcome | None:
        if self.busy:
            self._journal.acknowledge()
        return super().send(**options)
