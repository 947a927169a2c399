# SPDX-License-Identifier: Apache-2.0
"""Calls that an alarm interrupts, as a signal interrupts those of the sidecar."""

import signal
from contextlib import contextmanager


@contextmanager
def interrupting(pusher):
    """Let SIGALRM interrupt the pusher's calls."""
    before = signal.signal(signal.SIGALRM, lambda *_: pusher.interrupt())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcomes_at_any_moment(pusher, request):
    """Return the outcomes of 400 calls, each with an alarm before, during or after it."""
    outcomes = []
    with interrupting(pusher):
        for at in range(400):
            # From far longer than a call takes on a busy machine to far shorter.
            signal.setitimer(signal.ITIMER_REAL, 10 ** -(at % 100 / 20))
            outcomes.append(pusher.push(request))
    return outcomes
