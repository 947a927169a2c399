# SPDX-License-Identifier: Apache-2.0
"""The terminal on which `top` draws, and what happens there: keys, a new size, signals."""

import codecs
import contextlib
import logging
import os
import re
import select
import shutil
import signal
import sys
import termios
from collections.abc import Iterator, Sequence

from sidecar.errors import printable
from sidecar.log_fields import text_of

# Control sequences of xterm, which all current terminals support: alternate screen, cursor hidden, long lines
# clipped.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_CLEAR_LINE = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"

QUIT, RESIZE, SUSPEND, CONTINUE = "QUIT", "RESIZE", "SUSPEND", "CONTINUE"
"""Events that are no keys: their names are in capitals, and those of keys are not."""

_SIGNALS: dict[int, str] = {
    signal.SIGINT: QUIT,
    signal.SIGTERM: QUIT,
    signal.SIGQUIT: QUIT,
    signal.SIGHUP: QUIT,
}
_TERMINAL_SIGNALS: dict[int, str] = {
    signal.SIGWINCH: RESIZE,
    signal.SIGTSTP: SUSPEND,
    signal.SIGCONT: CONTINUE,
}

_NAMES = {"\x1b": "escape", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace"}
# Cursor and function keys send ESC [ … or ESC O …, Alt and a letter ESC and the letter.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\x1b]|.", re.DOTALL)


def keys(text: str) -> Iterator[str]:
    """Yield the keys that sent *text*: a character, "escape", "enter" or "backspace"; no others."""
    for sent in _KEY.findall(text):
        if sent in _NAMES:
            yield _NAMES[sent]
        elif sent.isprintable():
            yield sent


def is_drawable() -> bool:
    """Return whether stdout is a terminal that knows control sequences."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


class Events:
    """Signals and, with *has_keys*, the keys of stdin, as one stream; handlers are restored on exit."""

    def __init__(self, *, is_drawn: bool, has_keys: bool) -> None:
        self._signals = {**_SIGNALS, **(_TERMINAL_SIGNALS if is_drawn else {})}
        self._has_keys = has_keys
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def __enter__(self) -> "Events":
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # SIGINT too is set: a background process of a script starts with it ignored, and Python keeps that.
        # SIGHUP is not, where nohup has it ignored.
        self._handlers = {
            number: signal.signal(number, _noted)
            for number in self._signals
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }
        # So that `fg` does not end a call that stopped the process in the background.
        for number in self._handlers:
            signal.siginterrupt(number, False)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> list[str]:
        """Return what happened, as soon as something does; nothing once *seconds* have passed."""
        watched = [self._reader, *([sys.stdin.fileno()] if self._has_keys else [])]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        events: list[str] = []
        if self._reader in ready:
            numbers = os.read(self._reader, 64)
            events += [self._signals[number] for number in numbers if number in self._signals]
        if len(watched) > 1 and watched[1] in ready:
            events += self._typed(watched[1])
        return events

    def _typed(self, stdin: int) -> list[str]:
        try:
            sent = os.read(stdin, 1024)
        except OSError:
            sent = b""  # the terminal has gone
        return list(keys(self._decoder.decode(sent))) if sent else [QUIT]


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the number is in the pipe already."""


class Screen(logging.Handler):
    """
    The alternate screen of the terminal of stdout, and stdin without echo; both as before on exit.

    Attributes:
        has_keys: Whether stdin is a terminal, so that keys can be read.
        message: The newest log line, which would garble the screen.

    """

    def __init__(self) -> None:
        super().__init__()
        self.message = ""
        self.has_keys = sys.stdin is not None and sys.stdin.isatty()
        self._handlers: list[logging.Handler] = []
        self._encoding = sys.stdout.encoding or "utf-8"

    @property
    def size(self) -> os.terminal_size:
        """The present size; a serial line may not know its own."""
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(sys.stdout.fileno())
            if size.columns and size.lines:
                return size
        return shutil.get_terminal_size()

    def show(self, lines: Sequence[str]) -> None:
        """Draw *lines* over the last ones, without flicker."""
        self._write(_HOME + "\n".join(line + _CLEAR_LINE for line in lines) + _CLEAR_BELOW)

    def suspend(self) -> None:
        """Stop the process as Ctrl-Z does, with the terminal as it was; return when it continues."""
        self._leave()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self.resume()

    def resume(self) -> None:
        """Take the terminal again: a shell has restored it meanwhile."""
        if self.has_keys:
            mode = termios.tcgetattr(sys.stdin)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, mode)
        self._write(_ENTER)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log line for the next drawing."""
        self.message = printable(text_of(record))

    def __enter__(self) -> "Screen":
        root = logging.getLogger()
        self._handlers, root.handlers = root.handlers, [self]
        self._mode = termios.tcgetattr(sys.stdin) if self.has_keys else None
        try:
            self.resume()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().handlers = self._handlers
        # A terminal that has gone needs no restoring.
        with contextlib.suppress(OSError, termios.error):
            self._leave()

    def _leave(self) -> None:
        try:
            self._write(_LEAVE)
        finally:
            if self._mode is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._mode)

    def _write(self, text: str) -> None:
        if not self._encoding.lower().startswith("utf"):
            text = text.replace("…", "~")
        # Not escaped, as elsewhere: each character must stay as wide as it is.
        unsent = text.encode(self._encoding, "replace")
        sys.stdout.flush()
        while unsent:
            unsent = unsent[os.write(sys.stdout.fileno(), unsent) :]
