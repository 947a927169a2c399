# SPDX-License-Identifier: Apache-2.0
"""
Ctrl-C and SIGTERM, heard only where the demo waits.

An exception out of a signal handler can fall between the start of a process and the note that it must end;
then something stays behind. So the handler only remembers, and `pause` raises.
"""

import signal
import time
from types import FrameType

_SLICE_S = 0.05

_received: list[signal.Signals] = []


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for the end
    """Raised by `pause` when the user (SIGINT) or the system (SIGTERM) wants the demo to end."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def listen() -> None:
    """Remember SIGINT and SIGTERM from now on, instead of what Python does with them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _remember)


def pause(seconds: float) -> None:
    """
    Wait that long.

    Raises Interrupted, soon, if a signal came since `listen`.
    """
    deadline = time.monotonic() + seconds
    while not _received:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return
        time.sleep(min(remaining, _SLICE_S))
    raise Interrupted(_received[0])


def _remember(number: int, _frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))
