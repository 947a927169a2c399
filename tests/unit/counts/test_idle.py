# SPDX-License-Identifier: Apache-2.0
"""Which series may be omitted, and when all must be exported."""

import socket

from sidecar.counts import idle
from sidecar.counts.idle import CollectorView
from sidecar.otlp import connections

OURS, NEW = frozenset({7}), frozenset({8})


def batch(view, over, *, clean=True):
    return view.after_submit().after_response(over, clean=clean)


def test_all_are_exported_until_two_batches_went_over_one_connection():
    """The first may have been sent over a new connection."""
    first = batch(CollectorView(), OURS)
    second = batch(first, OURS)

    assert (first.has_all_series, second.has_all_series) == (False, True)
    assert batch(second, OURS).has_all_series


def test_another_connection_may_lead_to_a_collector_that_knows_nothing():
    """All are exported over it, and only then may some be omitted again."""
    known = batch(batch(CollectorView(), OURS), OURS)
    redialled = batch(known, NEW)

    assert not redialled.has_all_series
    assert batch(redialled, NEW).has_all_series


def test_after_a_failure_all_are_exported_again():
    """The batch that is resent did not have all of them, so its success is not enough."""
    failed = batch(batch(batch(CollectorView(), OURS), OURS), OURS, clean=False)
    again = failed.after_response(OURS, clean=True)

    assert not failed.has_all_series
    assert not again.has_all_series
    assert batch(again, OURS).has_all_series


def test_a_series_is_due_once_in_each_longest_pause_whatever_the_interval():
    """Never later."""
    for interval_s in (1, 10, 60, 500):
        step = interval_s * 10**9
        for number in (0, 1, 4711):
            exported_ns, pauses = 0, []
            for now_ns in range(step, 40 * idle.LONGEST_NS // 10, step):
                if idle.needs_refresh(idle.moment_ns(number), exported_ns, now_ns):
                    pauses.append(now_ns - exported_ns)
                    exported_ns = now_ns
            assert pauses
            assert max(pauses) <= max(idle.LONGEST_NS, step)


def test_a_new_socket_is_another_connection():
    """Even if it has the same descriptor."""
    before = connections.present()
    with socket.socket() as first:
        number, with_first = first.fileno(), connections.present()
    with socket.socket() as second:
        assert number == second.fileno()
        with_second = connections.present()

    assert len(with_first - before) == len(with_second - before) == 1
    assert with_first != with_second
    assert connections.present() == before
