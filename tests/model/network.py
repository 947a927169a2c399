# SPDX-License-Identifier: Apache-2.0
"""What happens to a request: the network between the sidecar and the Collector."""

from sidecar.model import Temporality
from sidecar.otlp.outcome import Delivered, Outcome, Rejected, Retry
from tests.model.edges import HERE
from tests.model.environment import Expected
from tests.model.explorer import Violation
from tests.model.machine import decoded
from tests.model.receiver import points

RESPONSES: dict[str, tuple[bool, Outcome]] = {
    "acknowledged": (True, Delivered()),
    "response lost": (True, Retry("DEADLINE_EXCEEDED", "")),
    "request lost": (False, Retry("UNAVAILABLE", "")),
    "request late": (False, Retry("DEADLINE_EXCEEDED", "")),
    "refused": (False, Rejected("INVALID_ARGUMENT", "")),
    "refused after counting": (True, Rejected("INVALID_ARGUMENT", "")),
    "points refused": (False, Delivered(rejected=1)),
}


class Pusher:
    """The network and the Collector."""

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        del timeout_s  # a deadline that passes is a lost response
        decisions = HERE.decisions
        if HERE.durable_first and request not in _batch(HERE.environment.disk.durable):
            raise Violation("sent what is not durable")
        if HERE.pushes and "collector" in HERE.kinds and decisions.choose("", "Collector restarted"):
            HERE.environment = HERE.environment.collector_restarted()
        HERE.pushes += 1
        response = decisions.choose(*HERE.responses)
        counts, outcome = RESPONSES[response]
        if counts:
            _count(request)
        environment = HERE.environment
        expected = _after(environment.expected, request, outcome, counts=counts)
        if isinstance(outcome, Delivered) and counts and "wipe" in HERE.kinds:
            expected = expected.showing(environment.collector)
        late = request if response == "request late" else environment.late
        HERE.environment = environment._replace(expected=expected, late=late)
        HERE.may_crash(response)
        return outcome


def _count(request: bytes) -> None:
    """Let the Collector process a request; Prometheus may scrape between two of its points."""
    remaining = points(request)
    if "scrape_inside" in HERE.kinds and HERE.decisions.choose("", "scraped between its points"):
        first = HERE.environment.collector.taking(remaining[:1])
        HERE.environment = HERE.environment._replace(collector=first).scraped()
        remaining = remaining[1:]
    HERE.environment = HERE.environment._replace(collector=HERE.environment.collector.taking(remaining))


def _after(expected: Expected, request: bytes, outcome: Outcome, *, counts: bool) -> Expected:
    """Return the counts expected after a response, with what it may lose."""
    batch = _batch(HERE.environment.disk.journal)
    given_up = isinstance(outcome, Delivered)
    if isinstance(outcome, Rejected):
        # After a refusal no counts may be risked until a batch is acknowledged.
        given_up = HERE.temporality is Temporality.DELTA and not expected.refused
        expected = expected._replace(refused=True)
    elif given_up and (request,) == batch[-1:]:
        expected = expected._replace(refused=False)
    if given_up and not counts and HERE.temporality is not Temporality.CUMULATIVE:
        # The whole batch is lost, except the requests that were delivered before this one.
        unsent = batch[batch.index(request) :] if request in batch else (request,)
        for lost in unsent:
            newest = {point.source: point.count for point in points(lost)}  # the last point is the window
            for source, count in newest.items():
                expected = expected.may_lose(source, count)
    return expected


def _batch(journal: bytes | None) -> tuple[bytes, ...]:
    """Return the requests of the batch in a journal."""
    record = decoded(journal or b"")
    return record.pending.requests if record and record.pending else ()
