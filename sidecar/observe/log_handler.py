# SPDX-License-Identifier: Apache-2.0
"""The log: one line per record, and a reader that stalls never blocks the process."""

import logging
import os
import select
import stat
import time

# How long writes may wait in total over the life of the process.
_MAX_WAIT_S = 1.0
_LOST = "%d log lines before this one are lost: standard error was not read"


class LogHandler(logging.Handler):
    """
    Writes to standard error without blocking; what it does not take is dropped, and the loss logged.

    A failed write (a reader that stalls, a full disk) is not an error of the process.
    """

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding
        self._fd = _without_blocking(2)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._wait_s = _MAX_WAIT_S
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
            # A pipe takes up to PIPE_BUF bytes atomically.
            written = os.write(self._fd, data[: select.PIPE_BUF])
            data = data[written:]
            self._torn = bool(data)

    def _wait(self) -> None:
        """Return when standard error is writable; raise BlockingIOError if it is not read."""
        if self._poll.poll(0):
            return
        began = time.monotonic()
        ready = self._poll.poll(1000 * self._wait_s)
        self._wait_s = max(0.0, self._wait_s - (time.monotonic() - began))
        if not ready:
            raise BlockingIOError


def _without_blocking(fd: int) -> int:
    """
    Return a descriptor of the same pipe or terminal whose writes never block, or *fd* itself.

    O_NONBLOCK on *fd* would apply to all processes that share it. Sockets and files take a whole line.
    """
    if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # no /proc, or the pipe of another user
            return fd
    return fd
