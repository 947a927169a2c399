# SPDX-License-Identifier: Apache-2.0
"""The log: one line for each record, and nobody who does not read it can hold the process up."""

import logging
import os
import select
import stat
import time
from types import TracebackType

from sidecar.errors import printable

LONGEST_LINE = 2000
# Lines are waited for so long in all, until the process ends.
_PATIENCE_S = 1.0
_LOST = "%d lines of the log before this one are lost: nobody read them"

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLine(logging.Formatter):
    """Makes one printable line of a record, whatever it quotes; only a bug has more, its traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line."""
        record.message = printable(record.message, LONGEST_LINE)
        return super().formatMessage(record)

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802
        """Return the lines of a traceback, each of them printable."""
        return "\n".join(printable(line, LONGEST_LINE) for line in super().formatException(ei).split("\n"))


class LogHandler(logging.Handler):
    """
    Writes to standard error as much as it takes at once; the rest is dropped, and how much is said.

    An error there (nobody reads, the disk is full) is no error of the process.
    """

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding
        self._fd = _without_blocking(2)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._patience_s = _PATIENCE_S
        self._lost = 0
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost."""
        lines = [self.format(record)]
        if self._lost:
            lost = logging.LogRecord(record.name, logging.WARNING, "", 0, _LOST, (self._lost,), None)
            lines = [*([""] if self._torn else []), self.format(lost), *lines]
        try:
            self._write("".join(f"{line}\n" for line in lines).encode(self._encoding, "backslashreplace"))
            self._lost, self._torn = 0, False
        except OSError:
            self._lost += 1

    def _write(self, data: bytes) -> None:
        while data:
            self._wait()
            # The most that a pipe takes as a whole or not at all.
            written = os.write(self._fd, data[: select.PIPE_BUF])
            data = data[written:]
            self._torn = bool(data)

    def _wait(self) -> None:
        """Return if something can be written; raise BlockingIOError if nobody reads."""
        if self._poll.poll(0):
            return
        began = time.monotonic()
        ready = self._poll.poll(1000 * self._patience_s)
        self._patience_s = max(0.0, self._patience_s - (time.monotonic() - began))
        if not ready:
            raise BlockingIOError


def _without_blocking(fd: int) -> int:
    """
    Return a descriptor of the same pipe or terminal whose writes never wait, or *fd* itself.

    O_NONBLOCK on *fd* would be everybody's who has it. Sockets and files take a line, once they say so.
    """
    if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # no /proc, or the pipe of another user
            return fd
    return fd
