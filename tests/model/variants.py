# SPDX-License-Identifier: Apache-2.0
"""Delivery rules that look correct and are not."""

from dataclasses import replace
from typing import Any

from sidecar.delivery import Delivery
from sidecar.otlp.outcome import Outcome, Rejected, Retry
from sidecar.state.record import Batch


class Merging(Delivery):
    """A batch that is not acknowledged is replaced by one that includes the counts since."""

    def send(self, **options: Any) -> Outcome | None:
        outcome = super().send(**options)
        if isinstance(outcome, Retry):
            self._record = replace(self._record, pending=None)
        return outcome


class WrittenAfter(Delivery):
    """The journal is written after the response."""

    def submit(self, batch: Batch, *_: Any, **_options: Any) -> None:
        self._record = replace(self._record, sequence=self.sequence + 1, pending=batch)

    def send(self, **options: Any) -> Outcome | None:
        was_pending = self.has_pending
        outcome = super().send(**options)
        if was_pending and not self.has_pending:
            self._journal.commit(self._record)
        return outcome


class AcknowledgedFirst(Delivery):
    """The mark is set before the response."""

    def send(self, **options: Any) -> Outcome | None:
        if self.has_pending:
            self._journal.acknowledge()
        return super().send(**options)


class RefusedIsForgotten(Delivery):
    """A refused batch is dropped, and its counts are sent with the next one."""

    def send(self, **options: Any) -> Outcome | None:
        before = self._record
        outcome = super().send(**options)
        if isinstance(outcome, Rejected):
            self._record = replace(before, pending=None)
        return outcome


class Reckless(Delivery):
    """No probe: the next batch has counts even after one was given up."""

    needs_probe = False
