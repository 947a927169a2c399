# SPDX-License-Identifier: Apache-2.0
"""What the user sees while something takes time."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CLEAR_LINE = "\r\033[K"


def is_terminal() -> bool:
    """Return whether somebody watches, or the output goes to a file or pipe."""
    return sys.stdout.isatty()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print *text*, the seconds as they pass (off a terminal each tenth), and how many it took in the end."""
    started = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(1 if is_terminal() else 10):
            elapsed = f"{time.monotonic() - started:.0f} s"
            _write(f"{_CLEAR_LINE}{text} ... {elapsed}" if is_terminal() else f"{elapsed} ... ")

    _write(f"{text} ... ")
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    outcome = "failed after "
    try:
        yield
        outcome = ""
    finally:
        done.set()
        ticker.join()
        again = f"{_CLEAR_LINE}{text} ... " if is_terminal() else ""
        _write(f"{again}{outcome}{time.monotonic() - started:.1f} s\n")


def live(text: str) -> None:
    """Show *text* in place of the live line before it; off a terminal, as a line of its own."""
    _write(f"{_CLEAR_LINE}{text}" if is_terminal() else f"{text}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
