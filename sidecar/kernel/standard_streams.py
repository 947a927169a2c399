# SPDX-License-Identifier: Apache-2.0
"""Standard input, output and error, in whatever state the process that started us left them."""

import io
import os
import sys
from typing import Any


class _NullStream(io.TextIOBase):
    """Takes the place of a stream that was closed."""

    def write(self, text: str) -> int:
        return len(text)


def prepare() -> None:
    """
    Make the three descriptors and streams usable; call this before any file is opened.

    The next file would get the number of a closed descriptor, and the log would be written into that file.
    Characters that the encoding lacks are escaped.
    """
    _occupy_descriptors()
    sys.stdout = _usable(sys.stdout)
    sys.stderr = _usable(sys.stderr)


def drop_output() -> None:
    """Discard buffered output, which Python would otherwise complain about at exit."""
    null = _open_null()
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _occupy_descriptors() -> None:
    # open(2) returns the lowest free number.
    while (free := _open_null()) <= 2:
        pass
    os.close(free)


def _open_null() -> int:
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:  # no /dev: this one can be neither read nor written, but it occupies the number
        return os.open("/", os.O_PATH)


def _usable(stream: Any) -> Any:
    if stream is None:
        return _NullStream()
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
