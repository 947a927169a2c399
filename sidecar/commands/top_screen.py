# SPDX-License-Identifier: Apache-2.0
"""The output of `top`: rates as lines of text, and the terminal on which they are drawn."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from sidecar.commands import peek
from sidecar.commands.table import bold, table
from sidecar.errors import printable
from sidecar.log_fields import text_of

# Control sequences of xterm, which all current terminals support: alternate screen, cursor hidden.
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_CLEAR_LINE = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"


@dataclass(frozen=True)
class Meter:
    """
    What a source counted between two readings.

    Attributes:
        title: The source and its map.
        fields: Names of the fields.
        rows: Its series, with the count of each field.
        seconds: The time between the readings.

    """

    title: str
    fields: tuple[str, ...]
    rows: tuple[peek.Row, ...]
    seconds: float


def lines(clock: str, meters: Sequence[Meter], size: os.terminal_size | None) -> list[str]:
    """Return the lines to show, highest rates first, cut to a screen of *size* unless it is None."""
    shown = [f"{clock}  per second, over {max((meter.seconds for meter in meters), default=0):.1f} s"]
    # Each source takes four lines besides its series: a blank line, title, header, and "… and N more".
    room = (size.lines - 2 - 4 * len(meters)) // max(1, len(meters)) if size else None
    for meter in meters:
        title = printable(meter.title)
        shown += ["", bold(title[: size.columns]) if size else title]
        shown += _rates(meter, size.columns if size else None, room)
    # The last line of the screen is reserved for the log.
    return shown[: size.lines - 1] if size else shown


def _rates(meter: Meter, width: int | None, room: int | None) -> list[str]:
    # By the first field: in most structs it counts packets.
    rows = sorted(meter.rows, key=lambda row: [-abs(number) for number in row.numbers])
    names = peek.columns(rows)
    shown = rows if room is None else rows[: max(1, room)]
    wide = _wide(meter, shown, names)
    if width is None or max(map(len, wide), default=0) <= width:
        return _and_more(wide, len(rows) - len(shown))
    # Too wide (the packet counter has eight fields): a line per field instead.
    shown = shown[: max(1, (room or 1) // max(1, len(meter.fields)))]
    return _and_more([line[:width] for line in _long(meter, shown, names)], len(rows) - len(shown))


def _wide(meter: Meter, rows: Sequence[peek.Row], names: Sequence[str]) -> list[str]:
    body = [
        [*peek.values(row, names), *(_rate(number, meter.seconds) for number in row.numbers)] for row in rows
    ]
    header = [*names, *meter.fields]
    return table(header, body, numbers=range(len(names), len(header)))


def _long(meter: Meter, rows: Sequence[peek.Row], names: Sequence[str]) -> list[str]:
    body = [
        [*peek.values(row, names), field, _rate(number, meter.seconds)]
        for row in rows
        for field, number in zip(meter.fields, row.numbers, strict=True)
    ]
    return table([*names, "field", "rate"], body, numbers=[len(names) + 1])


def _rate(number: int, seconds: float) -> str:
    return f"{number / seconds:,.1f}"


def _and_more(shown: list[str], more: int) -> list[str]:
    return [*shown, f"… and {more:,} more"] if more > 0 else shown


class Screen(logging.Handler):
    """The alternate screen of a terminal, left on exit; its last line shows the newest log line."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._log_line = ""
        self._handlers: list[logging.Handler] = []

    def show(self, shown: Sequence[str]) -> None:
        """Draw the lines *shown* over the last ones, without flicker."""
        log_line = self._log_line[: shutil.get_terminal_size().columns]
        body = "\n".join(line + _CLEAR_LINE for line in (*shown, *([log_line] if log_line else [])))
        self._terminal.write(_HOME + body + _CLEAR_BELOW)
        self._terminal.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log line for the next `show`: writing it now would garble the screen."""
        self._log_line = printable(text_of(record))

    def __enter__(self) -> "Screen":
        root = logging.getLogger()
        self._handlers, root.handlers = root.handlers, [self]
        self._terminal.write(_ENTER)
        self._terminal.flush()
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().handlers = self._handlers
        self._terminal.write(_LEAVE)
        self._terminal.flush()
