# SPDX-License-Identifier: Apache-2.0
"""A command on a real terminal (a pty, interpreted by pyte) or into a pipe."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pyte

from tests.waiting import answered

ROOT = Path(__file__).parents[1]


class Running:
    """
    A command that runs for the `with` block.

    Attributes:
        process: Its process.
        output: All that it has written, to stdout and stderr.

    """

    def __init__(self, command, *, terminal=None, environ=None):
        """Start *command*, on a terminal of these (lines, columns) if given."""
        self.output = b""
        self._reader, writer = pty.openpty() if terminal else os.pipe()
        self._is_terminal = bool(terminal)
        self._is_hung_up = False
        if terminal:
            self._emulator = pyte.Screen(terminal[1], terminal[0])
            self._stream = pyte.ByteStream(self._emulator)
            self._lock = threading.Lock()
            self._set_size(*terminal)
        # Its controlling terminal, from which Ctrl-C and the like come.
        session = ["setsid", "--ctty"] if terminal else ["setsid"]
        self.process = subprocess.Popen(
            [*session, *command],
            cwd=ROOT,
            stdin=writer if terminal else subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", "LC_ALL": "C.UTF-8", **(environ or {})},
        )
        # Kept open on a terminal: it has its mode only as long as somebody has it open.
        self._writer = writer if terminal else None
        if not terminal:
            os.close(writer)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self):
        while not self._is_hung_up:
            # A terminal is not closed while it is being read.
            if not select.select([self._reader], [], [], 0.05)[0]:
                continue
            try:
                chunk = os.read(self._reader, 65536)
            except OSError:  # a terminal that nobody has open any more
                return
            if not chunk:
                return
            if self._is_terminal:
                with self._lock:
                    self._stream.feed(chunk)
            self.output += chunk

    @property
    def screen(self):
        """The lines that the terminal shows, without spaces at their ends."""
        with self._lock:
            return [line.rstrip() for line in self._emulator.display]

    @property
    def mode(self):
        """The terminal's mode: echo, line editing and so on."""
        return termios.tcgetattr(self._reader)

    def press(self, keys):
        """Type *keys*."""
        os.write(self._reader, keys.encode())

    def resize(self, lines, columns):
        """Give the terminal another size, which sends SIGWINCH."""
        with self._lock:
            self._emulator.resize(lines, columns)
        self._set_size(lines, columns)

    def _set_size(self, lines, columns):
        fcntl.ioctl(self._reader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def hang_up(self):
        """Close the terminal, as a broken connection does."""
        self._is_hung_up = True
        self._thread.join()
        self._close_writer()
        os.close(self._reader)

    def wait_for(self, text):
        """Wait until *text* has been written."""
        answered(lambda: text in self.output, 20)

    def end(self, number=None):
        """Send signal *number*, if any; return the exit code once the command has ended."""
        if number:
            self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self._close_writer()
        self._thread.join()
        return code

    def _close_writer(self):
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if not self._is_hung_up:
            self.hang_up()
