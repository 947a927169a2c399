# SPDX-License-Identifier: Apache-2.0
"""Delivery rules that look as good as ours, and are not."""

from dataclasses import replace
from typing import Any

from sidecar.delivery import Delivery
from sidecar.otlp.outcome import Outcome, Rejected, Retry
from sidecar.state.record import Batch


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
        self._record = replace(self._record, sequence=self.sequence + 1, pending=batch)

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


class RefusedIsForgotten(Delivery):
    """A refused batch is forgotten, and its counts go out with the next one."""

    def send(self, **options: Any) -> Outcome | None:
        before = self._record
        outcome = super().send(**options)
        if isinstance(outcome, Rejected):
            self._record = replace(before, pending=None)
        return outcome


class Reckless(Delivery):
    """No probe: the next batch has counts, whatever became of the last one."""

    needs_probe = False
