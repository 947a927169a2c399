# SPDX-License-Identifier: Apache-2.0
"""
Ctrl-C and SIGTERM, handled only where the demo waits.

An exception raised in a signal handler could strike between the start of a process and the registration of
its cleanup, and leave the process behind. So the handler only records the signal, and `pause` raises.
"""

import signal
import time
from types import FrameType

_SLICE_S = 0.05

_received: list[signal.Signals] = []


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """Raised by `pause` after SIGINT from the user or SIGTERM from the system."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def listen() -> None:
    """Record SIGINT and SIGTERM from now on, in place of Python's default handlers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _record)


def pause(seconds: float) -> None:
    """
    Wait.

    Raises Interrupted promptly if a signal has arrived since `listen`.
    """
    deadline = time.monotonic() + seconds
    while not _received:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return
        time.sleep(min(remaining, _SLICE_S))
    raise Interrupted(_received[0])


def _record(number: int, _frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))
