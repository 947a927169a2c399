# SPDX-License-Identifier: Apache-2.0
"""
Poll a started process up to a deadline, instead of sleeping for a fixed time or asking once.

OSError and DemoError mean that it is not ready yet.
"""

import time

from demo.errors import DemoError
from demo.patience import patient

__all__ = ["answered", "matching", "patient", "settled"]

_POLL_S = 0.1


def matching(ask, is_right, seconds=60, *, every_s=_POLL_S):
    """Return the first right answer, or the last one, which may be an error, once time is up."""
    deadline = time.monotonic() + patient(seconds)
    while isinstance(answer := _asked(ask), DemoError | OSError) or not is_right(answer):
        if time.monotonic() > deadline:
            break
        time.sleep(every_s)
    return answer


def settled(ask, expected, seconds=60, *, every_s=_POLL_S):
    """Return the answer once it equals *expected*, or the last one once time is up."""
    return matching(ask, lambda answer: answer == expected, seconds, every_s=every_s)


def answered(ask, seconds=60):
    """Return the first true answer; fail if there is none in time."""
    answer = matching(ask, bool, seconds)
    failed = not answer or isinstance(answer, DemoError | OSError)
    assert not failed, f"not within {patient(seconds)} s: {answer}"
    return answer


def _asked(ask):
    try:
        return ask()
    except (OSError, DemoError) as error:
        return error
