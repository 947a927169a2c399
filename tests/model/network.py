# SPDX-License-Identifier: Apache-2.0
"""What becomes of a request: the edge between the sidecar and the Collector."""

from sidecar.model import Temporality
from sidecar.otlp.outcome import Delivered, Outcome, Rejected, Retry
from tests.model.edges import HERE
from tests.model.explorer import Wrong
from tests.model.machine import decoded
from tests.model.outside import StreamTable
from tests.model.receiver import points

ANSWERS: dict[str, tuple[bool, Outcome]] = {
    "answered": (True, Delivered()),
    "answer lost": (True, Retry("DEADLINE_EXCEEDED", "")),
    "request lost": (False, Retry("UNAVAILABLE", "")),
    "request late": (False, Retry("DEADLINE_EXCEEDED", "")),
    "refused": (False, Rejected("INVALID_ARGUMENT", "")),
    "refused after counting": (True, Rejected("INVALID_ARGUMENT", "")),
    "points refused": (False, Delivered(rejected=1)),
}


class Pusher:
    """The network and the Collector."""

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        del timeout_s  # a deadline that passes is an answer that is lost
        asked = HERE.asked
        if HERE.durable_first and request not in _batch(HERE.outside.disk.durable):
            raise Wrong("sent what is not durable")
        if HERE.pushes and "collector" in HERE.kinds and asked.choose("", "Collector restarted"):
            HERE.outside = HERE.outside.collector_restarted()
        HERE.pushes += 1
        answer = asked.choose(*HERE.answers)
        counts, outcome = ANSWERS[answer]
        if counts:
            _count(request)
        outside = HERE.outside
        ledger = _after(outside.ledger, request, outcome, counts=counts)
        if isinstance(outcome, Delivered) and counts and "wipe" in HERE.kinds:
            ledger = ledger.showing(outside.collector)
        late = request if answer == "request late" else outside.late
        HERE.outside = outside._replace(ledger=ledger, late=late)
        HERE.may_crash(answer)
        return outcome


def _count(request: bytes) -> None:
    """Let the Collector take a request; Prometheus may scrape between two points of it."""
    taken = points(request)
    if "scrape_inside" in HERE.kinds and HERE.asked.choose("", "scraped between its points"):
        first = HERE.outside.collector.taking(taken[:1])
        HERE.outside = HERE.outside._replace(collector=first).scraped()
        taken = taken[1:]
    HERE.outside = HERE.outside._replace(collector=HERE.outside.collector.taking(taken))


def _after(ledger: StreamTable, request: bytes, outcome: Outcome, *, counts: bool) -> StreamTable:
    """Return the ledger after an answer: what may be lost by it."""
    batch = _batch(HERE.outside.disk.journal)
    given_up = isinstance(outcome, Delivered)
    if isinstance(outcome, Rejected):
        # Once refused, nothing more may be risked until something was acknowledged.
        given_up = HERE.temporality is Temporality.DELTA and not ledger.refused
        ledger = ledger._replace(refused=True)
    elif given_up and (request,) == batch[-1:]:
        ledger = ledger._replace(refused=False)
    if given_up and not counts and HERE.temporality is not Temporality.CUMULATIVE:
        # The whole batch is, but for the requests that were delivered before this one.
        unsent = batch[batch.index(request) :] if request in batch else (request,)
        for one in unsent:
            newest = {point.source: point.count for point in points(one)}  # the last point is the window
            for source, count in newest.items():
                ledger = ledger.may_lose(source, count)
    return ledger


def _batch(journal: bytes | None) -> tuple[bytes, ...]:
    """Return the requests of the batch in a journal."""
    record = decoded(journal or b"")
    return record.pending.requests if record and record.pending else ()
