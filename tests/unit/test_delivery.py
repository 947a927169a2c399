# SPDX-License-Identifier: Apache-2.0
import contextlib
from types import SimpleNamespace

import pytest

from sidecar.counts.idle import CollectorView
from sidecar.delivery import Delivery
from sidecar.model import Temporality
from sidecar.otlp_push import Delivered, Rejected, Retry
from sidecar.state.journal import Journal
from sidecar.state.record import Batch


@pytest.fixture
def deliver(tmp_path):
    """Return a delivery after one batch was submitted and sent with the given outcomes, at time 0."""
    with contextlib.closing(Journal(tmp_path / "state")) as journal:

        def with_outcomes(*outcomes, temporality=Temporality.DELTA):
            left = list(outcomes)
            pusher = SimpleNamespace(push=lambda *_args, **_options: left.pop(0))
            clock = SimpleNamespace(now=lambda: 0.0)
            delivery = Delivery(journal, pusher, clock, temporality)
            delivery.submit(Batch((b"request",), {}), {})
            for _ in outcomes:
                delivery.send()
            return delivery

        yield with_outcomes


def test_repr_of_a_pending_batch_shows_attempts_and_pause(deliver):
    """A debugger needs no look into private attributes."""
    delivery = deliver(Retry("UNAVAILABLE", "", 7.0), Retry("UNAVAILABLE", "", 9.5))

    assert repr(delivery) == "<Delivery [batch 1: pending, attempts: 2, next in 9.5 s]>"


def test_repr_of_a_completed_batch_shows_what_became_of_it(deliver):
    """Acknowledged, or given up."""
    assert repr(deliver(Delivered())) == "<Delivery [batch 1: acknowledged, attempts: 0, next in 0.0 s]>"
    assert repr(deliver(Rejected("INTERNAL", ""))).startswith(
        "<Delivery [batch 2: not acknowledged, attempts: 1, "
    )


@pytest.mark.parametrize(
    ("temporality", "resent"),
    [(Temporality.DELTA, False), (Temporality.CUMULATIVE, False), (Temporality.DELTA_WITH_BASE, True)],
)
def test_a_rejected_batch_is_resent_only_to_a_receiver_that_drops_known_points(deliver, temporality, resent):
    """To any other receiver the specification forbids it."""
    delivery = deliver(Rejected("INTERNAL", ""), temporality=temporality)

    assert delivery.has_pending == resent


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (CollectorView(), "<CollectorView [may lack series, last batch: may omit idle series, sockets: []]>"),
        (
            CollectorView(pending_has_all=True, connections=frozenset({9, 7})),
            "<CollectorView [may lack series, last batch: all series, sockets: [7, 9]]>",
        ),
        (
            CollectorView(has_all_series=True),
            "<CollectorView [has all series, last batch: may omit idle series, sockets: []]>",
        ),
    ],
)
def test_repr_of_a_collector_view_shows_its_state(view, expected):
    """Whether idle series may be omitted, and on what that rests."""
    assert repr(view) == expected
