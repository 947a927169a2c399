# SPDX-License-Identifier: Apache-2.0
"""
What was started is asked until it answers, up to a deadline: never slept for, and never asked only once.

While it starts, an error is no answer yet.
"""

import time

from demo.errors import DemoError

_POLL_S = 0.1


def answered(ask, seconds=60):
    """Return the first answer that is true; fail if there is none in time."""
    deadline = time.monotonic() + seconds
    while isinstance(found := _asked(ask), DemoError | OSError) or not found:
        assert time.monotonic() < deadline, f"not within {seconds} s: {found}"
        time.sleep(_POLL_S)
    return found


def settled(ask, expected, seconds=60, *, every_s=_POLL_S):
    """Return the answer as soon as it is what is expected, or what it is in the end."""
    deadline = time.monotonic() + seconds
    while (found := _asked(ask)) != expected and time.monotonic() < deadline:
        time.sleep(every_s)
    return found


def _asked(ask):
    """Return the answer, or the error in its place."""
    try:
        return ask()
    except (OSError, DemoError) as error:
        return error
