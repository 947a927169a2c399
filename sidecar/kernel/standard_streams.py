# SPDX-License-Identifier: Apache-2.0
"""Standard input, output and error, however whoever started us left them."""

import io
import os
import sys
from typing import Any


class _Nowhere(io.TextIOBase):
    """What stands for a stream that was closed."""

    def write(self, text: str) -> int:
        return len(text)


def prepare() -> None:
    """
    Make the three descriptors and streams usable; call it before anything opens a file.

    A descriptor that is closed would be that of the next file, and the log would be written into it. What an
    encoding cannot say is escaped.
    """
    _hold_descriptors()
    sys.stdout = _usable(sys.stdout)
    sys.stderr = _usable(sys.stderr)


def drop_output() -> None:
    """Let what is still buffered for output go nowhere, or Python would complain about it at exit."""
    nothing = _open_nothing()
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _hold_descriptors() -> None:
    # A file gets the lowest number that is free.
    while (free := _open_nothing()) <= 2:
        pass
    os.close(free)


def _open_nothing() -> int:
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:  # no /dev: it can be neither read nor written, and the number is taken
        return os.open("/", os.O_PATH)


def _usable(stream: Any) -> Any:
    if stream is None:
        return _Nowhere()
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
