# SPDX-License-Identifier: Apache-2.0
"""What `top` shows: rates as lines of text, and the terminal that they are drawn on."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from sidecar.commands import peek
from sidecar.commands.table import bold, table
from sidecar.errors import printable

# xterm's control sequences, which every terminal of today knows: another screen, and no cursor on it.
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_CLEAR_LINE = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"


@dataclass(frozen=True)
class Meter:
    """
    What one source counted in the last *seconds*.

    Attributes:
        title: The source and its map.
        fields: Names of the fields.
        rows: Its series, with what each field counted.
        seconds: How long that took.

    """

    title: str
    fields: tuple[str, ...]
    rows: tuple[peek.Row, ...]
    seconds: float


def lines(clock: str, meters: Sequence[Meter], size: os.terminal_size | None) -> list[str]:
    """Return what is shown, series by rate, the highest first; *size* limits it to a screen."""
    said = [f"{clock}  per second, over {max((one.seconds for one in meters), default=0):.1f} s"]
    # Each source has an empty line, its title, its names and how many more there are; the rest is for series.
    room = (size.lines - 2 - 4 * len(meters)) // max(1, len(meters)) if size else None
    for meter in meters:
        title = printable(meter.title)
        said += ["", bold(title[: size.columns]) if size else title]
        said += _rates(meter, size.columns if size else None, room)
    # The last line is for what the log says.
    return said[: size.lines - 1] if size else said


def _rates(meter: Meter, width: int | None, room: int | None) -> list[str]:
    # The first field decides, as in most structs it is the packets.
    found = sorted(meter.rows, key=lambda row: [-abs(number) for number in row.numbers])
    names = peek.columns(found)
    shown = found if room is None else found[: max(1, room)]
    wide = _wide(meter, shown, names)
    if width is None or max(map(len, wide), default=0) <= width:
        return _and_more(wide, len(found) - len(shown))
    # Too wide: a line for each field instead, as for the packet counter's eight.
    shown = shown[: max(1, (room or 1) // max(1, len(meter.fields)))]
    return _and_more([line[:width] for line in _long(meter, shown, names)], len(found) - len(shown))


def _wide(meter: Meter, rows: Sequence[peek.Row], names: Sequence[str]) -> list[str]:
    body = [[*_said(row, names), *(_rate(number, meter.seconds) for number in row.numbers)] for row in rows]
    header = [*names, *meter.fields]
    return table(header, body, numbers=range(len(names), len(header)))


def _long(meter: Meter, rows: Sequence[peek.Row], names: Sequence[str]) -> list[str]:
    body = [
        [*_said(row, names), field, _rate(number, meter.seconds)]
        for row in rows
        for field, number in zip(meter.fields, row.numbers, strict=True)
    ]
    return table([*names, "field", "rate"], body, numbers=[len(names) + 1])


def _said(row: peek.Row, names: Sequence[str]) -> list[str]:
    said = dict(row.attributes)
    return [peek.text(said.get(name)) for name in names]


def _rate(number: int, seconds: float) -> str:
    return f"{number / seconds:,.1f}"


def _and_more(found: list[str], more: int) -> list[str]:
    return [*found, f"… and {more:,} more"] if more > 0 else found


class Screen(logging.Handler):
    """A terminal that is drawn upon and given back as it was; log lines are shown at its end."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._trouble = ""
        self._handlers: list[logging.Handler] = []

    def show(self, said: Sequence[str]) -> None:
        """Draw *said* over what was there, without a flicker."""
        trouble = self._trouble[: shutil.get_terminal_size().columns]
        said = [*said, *([trouble] if trouble else [])]
        body = "\n".join(line + _CLEAR_LINE for line in said)
        self._terminal.write(_HOME + body + _CLEAR_BELOW)
        self._terminal.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the log for the next drawing: it must not be written across the screen."""
        self._trouble = printable(record.getMessage())

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
