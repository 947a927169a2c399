# SPDX-License-Identifier: Apache-2.0
"""Which series may be left out, and when all must be said."""

import socket

from sidecar.counts import idle
from sidecar.counts.idle import CollectorView
from sidecar.otlp import connections

OURS, NEW = frozenset({7}), frozenset({8})


def batch(told, over, *, clean=True):
    return told.after_batch().after_response(over, clean=clean)


def test_all_are_said_until_two_batches_came_over_one_connection():
    """The first may have been the one that was dialled anew."""
    first = batch(CollectorView(), OURS)
    second = batch(first, OURS)

    assert (first.has_all_series, second.has_all_series) == (False, True)
    assert batch(second, OURS).has_all_series


def test_another_connection_may_lead_to_a_collector_that_knows_nothing():
    """All are said over it, and only then some may be left out again."""
    known = batch(batch(CollectorView(), OURS), OURS)
    redialled = batch(known, NEW)

    assert not redialled.has_all_series
    assert batch(redialled, NEW).has_all_series


def test_after_a_failure_all_are_said_again():
    """A batch that was sent again had not all, so it does not do."""
    failed = batch(batch(batch(CollectorView(), OURS), OURS), OURS, clean=False)
    again = failed.after_response(OURS, clean=True)

    assert not failed.has_all_series
    assert not again.has_all_series
    assert batch(again, OURS).has_all_series


def test_a_series_is_due_once_in_each_longest_time_whatever_the_interval():
    """Not all at once, and none later."""
    for interval_s in (1, 10, 60, 500):
        step = interval_s * 10**9
        for number in (0, 1, 4711):
            said_ns, pauses = 0, []
            for now_ns in range(step, 40 * idle.LONGEST_NS // 10, step):
                if idle.needs_refresh(number, said_ns, now_ns):
                    pauses.append(now_ns - said_ns)
                    said_ns = now_ns
            assert pauses
            assert max(pauses) <= max(idle.LONGEST_NS, step)


def test_a_socket_that_is_made_anew_is_another_connection():
    """Also if it has the same descriptor."""
    before = connections.present()
    with socket.socket() as one:
        number, with_one = one.fileno(), connections.present()
    with socket.socket() as other:
        assert number == other.fileno()
        with_other = connections.present()

    assert len(with_one - before) == len(with_other - before) == 1
    assert with_one != with_other
    assert connections.present() == before
