# SPDX-License-Identifier: Apache-2.0
"""Progress output."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CLEAR_LINE = "\r\033[K"


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print *text*, the elapsed seconds while the block runs (every tenth off a terminal), and the total."""
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
    """Show *text* in place of the last live line; off a terminal, as a new line."""
    _write(f"{_CLEAR_LINE}{text}" if is_terminal() else f"{text}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
