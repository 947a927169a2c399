# SPDX-License-Identifier: Apache-2.0
"""
Tell systemd how the service is doing: sd_notify(3), which is one datagram for each message.

Without `NOTIFY_SOCKET`, which systemd sets for `Type=notify`, all of this does nothing.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping

_USEC = 1_000_000


class ServiceManager:
    """
    The service manager that started this process, if any.

    Attributes:
        is_there: Whether there is one.
        watchdog_s: It ends the process after this time without `alive`, seconds; None: it does not.

    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the address and the watchdog's time from the environment."""
        name = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of Linux' abstract namespace.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.is_there = bool(name)
        usec = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / _USEC if name and is_ours and usec.isdecimal() and int(usec) else None
        self._fed_at = 0.0
        self._status = ""

    def ready(self) -> None:
        """Say that the service runs, or that a reload has ended."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that a reload has begun."""
        # systemd tells by the time which of several reloads has ended.
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_usec}")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def allow(self, seconds: float) -> None:
        """Make the watchdog wait for at least this long: a single step may take it."""
        if self.watchdog_s and self.watchdog_s < seconds:
            self.watchdog_s = seconds
            self._send(f"WATCHDOG_USEC={int(seconds * _USEC)}")

    def alive(self) -> None:
        """Feed the watchdog, at most as often as it needs."""
        now = time.monotonic()
        if self.watchdog_s and now - self._fed_at >= self.watchdog_s / 4:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # Never a reason to stop counting; a manager that does not read must not block us either.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(message.encode(), self._address)
