# SPDX-License-Identifier: Apache-2.0
"""What `top` shows: rates as lines of text, in the order and with the filter that keys choose. Pure."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sidecar.commands import peek
from sidecar.commands.table import bold, fitted, shortened, table
from sidecar.errors import printable
from sidecar.model import Attributes
from sidecar.observe.summary import plural

Order = Literal["rate", "total", "key"]

_ORDERS: Mapping[str, Order] = {"r": "rate", "t": "total", "k": "key"}
_HELP = ("r rate", "t total", "k key", "/ filter", "f next field")
_GAP = "  "
# Below this a key says little, and a line for each field says more.
_LEAST_KEY = 8
_LEAST = 3
# Lines of a source besides its fields: a blank one, title, header.
_OVERHEAD = 3


@dataclass(frozen=True)
class Counted:
    """A series: its attributes, and for each field the count since the last reading and since the first."""

    attributes: Attributes
    counts: tuple[int, ...]
    totals: tuple[int, ...]


@dataclass(frozen=True)
class Meter:
    """
    What a source counted between two readings.

    Attributes:
        title: The source and its map.
        keys: How many keys the map has.
        fields: Names of the fields.
        series: Its series; keys that differ only in padding are one.
        seconds: The time between the readings.

    """

    title: str
    keys: int
    fields: tuple[str, ...]
    series: tuple[Counted, ...]
    seconds: float


@dataclass(frozen=True)
class View:
    """
    What the keys have chosen.

    Attributes:
        order: Highest rate first, highest total first, or by key. With "total", totals are shown.
        field: Which field decides the order, counted from 0.
        filter: Only series whose attributes contain this text, as `name=value`, are shown.
        is_typing: Whether the filter is being typed, so that letters are no commands.

    """

    order: Order = "rate"
    field: int = 0
    filter: str = ""
    is_typing: bool = False

    def after(self, key: str) -> "View":
        """Return the view after a key: a character, "escape", "enter" or "backspace"."""
        if key == "escape":
            return replace(self, filter="", is_typing=False)
        if self.is_typing:
            return self._typed(key)
        if key == "f":
            return replace(self, field=self.field + 1)
        if key == "/":
            return replace(self, is_typing=True)
        return replace(self, order=_ORDERS.get(key, self.order))

    def quits(self, key: str) -> bool:
        """Return whether *key* ends the command."""
        return key == "q" and not self.is_typing

    def _typed(self, key: str) -> "View":
        if key == "enter":
            return replace(self, is_typing=False)
        if key == "backspace":
            return replace(self, filter=self.filter[:-1])
        return replace(self, filter=self.filter + key)


def plain(clock: str, meters: Sequence[Meter]) -> list[str]:
    """Return the lines for a pipe or file: everything, highest rates first."""
    shown = [_head(clock, meters, View())]
    for meter in meters:
        section = _Section(meter, View())
        shown += ["", section.title(), *section.whole()]
    return shown


def screen(
    clock: str,
    meters: Sequence[Meter],
    view: View,
    size: os.terminal_size,
    *,
    message: str = "",
    has_keys: bool = True,
) -> list[str]:
    """Return the lines of a whole screen: the meters, the newest log line *message*, and help."""
    footer = [shortened(message, size.columns)] if message and size.lines > 4 else []
    if view.is_typing or size.lines > 3:
        footer.append(_help(view, size.columns, has_keys=has_keys))
    room = max(0, size.lines - len(footer))
    head = [shortened(_head(clock, meters, view), size.columns)] if room > 2 or not meters else []
    sections = [_Section(meter, view) for meter in meters]
    body = [*head, *_sections(sections, size.columns, room - len(head))][:room]
    return [*body, *[""] * (room - len(body)), *footer]


def _head(clock: str, meters: Sequence[Meter], view: View) -> str:
    if not meters:
        return f"{clock}  waiting for the second reading"
    if view.order == "total":
        return f"{clock}  since each map was created"
    return f"{clock}  per second, over {max(meter.seconds for meter in meters):.1f} s"


def _help(view: View, width: int, *, has_keys: bool) -> str:
    if not has_keys:
        return shortened("Ctrl-C quits", width)
    if view.is_typing:
        # Of a long text its end is what is being typed.
        rest = _GAP + "Enter keeps  Esc clears"
        return f"/{view.filter}_"[-max(1, width - len(rest)) :] + (rest if len(rest) + 8 < width else "")
    chosen = [f"filter {shortened(view.filter, 16)}", "Esc clears"] if view.filter else []
    line = "q quit"
    for item in (*chosen, *_HELP):
        if len(line) + len(_GAP) + len(item) <= width:
            line += _GAP + item
    return shortened(line, width)


def _sections(sections: Sequence["_Section"], width: int, room: int) -> list[str]:
    """Return the sections in *room* lines, which they share; where there is little, titles go first."""
    blocks = [section.block(width, room) for section in sections]
    # Each table has a header and at least one line.
    least = 2 * len(blocks)
    has_titles = room >= least + len(blocks)
    has_gaps = room >= least + 2 * len(blocks)
    shares = _shares([len(block.lines) for block in blocks], room - len(blocks) * (has_titles + has_gaps))
    shown = []
    for section, block, share in zip(sections, blocks, shares, strict=True):
        shown += [""] * has_gaps + [bold(section.title(width))] * has_titles
        shown += block.cut(share)
    return shown


def _shares(needs: Sequence[int], room: int) -> list[int]:
    """Return how many lines each gets: what it needs, or an even share of what the smaller ones leave."""
    shares = [0] * len(needs)
    left = max(room, 0)
    for done, place in enumerate(sorted(range(len(needs)), key=lambda place: needs[place])):
        shares[place] = max(2, min(needs[place], left // (len(needs) - done)))
        left = max(0, left - shares[place])
    return shares


@dataclass(frozen=True)
class _Block:
    """A table's lines, header first, of which each series has *per_series*; *total* series belong to it."""

    lines: list[str]
    per_series: int
    total: int

    def cut(self, room: int) -> list[str]:
        series = (len(self.lines) - 1) // self.per_series
        if len(self.lines) <= room and series >= self.total:
            return self.lines
        # The last line counts those that are not shown, unless it is the only one.
        fit = max(1, (room - 2) // self.per_series)
        shown = self.lines[: min(room, 1 + fit * self.per_series)]
        more = self.total - fit
        return [*shown, f"… and {more:,} more"] if more > 0 and len(shown) < room else shown


class _Section:
    """One source in a view: its series that pass the filter, in their order."""

    def __init__(self, meter: Meter, view: View) -> None:
        self._fields = meter.fields
        self._field = view.field % max(1, len(meter.fields))
        self._text: Callable[[int], str] = (
            "{:,}".format if view.order == "total" else lambda count: f"{count / meter.seconds:,.1f}"
        )
        self._label = "total" if view.order == "total" else "rate"
        passing = [series for series in meter.series if _passes(series, view.filter)]
        self._rows = [
            peek.Row(series.attributes, series.totals if view.order == "total" else series.counts)
            for series in passing
        ]
        self._rows.sort(key=peek.sort_key)
        if view.order != "key":
            self._rows.sort(key=self._rank)
        self._names = peek.columns(self._rows)
        self._title = printable(meter.title)
        shown = f", {len(self._rows):,} of {len(meter.series):,} shown" if view.filter else ""
        self._size = f", {plural(meter.keys, 'key')}{shown}"

    def _rank(self, row: peek.Row) -> list[int]:
        # The chosen field, by default the first: in most structs it counts packets.
        first, others = row.numbers[self._field : self._field + 1], row.numbers
        return [-abs(number) for number in (*first, *others)]

    def title(self, width: int | None = None) -> str:
        """Return the source with its number of keys, in *width* columns; the name is cut first."""
        if width is None:
            return self._title + self._size
        return shortened(shortened(self._title, max(1, width - len(self._size))) + self._size, width)

    def whole(self) -> list[str]:
        """Return the table with all series, however wide."""
        header, body = self._wide(self._rows)
        return table(header, body, numbers=range(len(self._names), len(header)))

    def block(self, width: int, room: int) -> _Block:
        """Return the table in the form that fits into *width* columns; at most *room* series are needed."""
        total = len(self._rows)
        if not total:
            return _Block([shortened("none", width)], 1, 0)
        for lines, per_series in self._forms(self._rows[: max(1, room)], width, room):
            if lines is not None:
                return _Block(lines, per_series, total)
        return _Block([shortened("too narrow", width)], 1, 0)

    def _forms(
        self, rows: Sequence[peek.Row], width: int, room: int
    ) -> Iterator[tuple[list[str] | None, int]]:
        """Yield the forms of the table, most readable first: its lines, or None, and lines per series."""
        keys, fields = len(self._names), len(self._fields)
        header, body = self._wide(rows)
        numbers = range(keys, keys + fields)
        yield fitted(header, body, numbers=numbers, width=width, least=_LEAST_KEY), 1
        header, body = _joined(header, body, keys)
        yield fitted(header, body, numbers=range(1, 1 + fields), width=width, least=2 * _LEAST_KEY), 1
        # A line for each field; only the chosen one where there is no room for all.
        chosen = range(fields) if room >= fields + _OVERHEAD else [self._field]
        header, body = self._long(rows, chosen)
        yield fitted(header, body, numbers=[keys + 1], width=width, least=_LEAST_KEY), len(chosen)
        if len(chosen) == 1:
            header, body = _joined(header, body, keys)
            yield fitted(header, body, numbers=[2], width=width, least=_LEAST), 1
        yield self._below(rows, chosen, width), 1 + len(chosen)

    def _wide(self, rows: Sequence[peek.Row]) -> tuple[list[str], list[list[str]]]:
        body = [[*peek.values(row, self._names), *map(self._text, row.numbers)] for row in rows]
        return [*self._names, *self._fields], body

    def _long(self, rows: Sequence[peek.Row], chosen: Sequence[int]) -> tuple[list[str], list[list[str]]]:
        body = [
            [*peek.values(row, self._names), self._fields[at], self._text(row.numbers[at])]
            for row in rows
            for at in chosen
        ]
        return [*self._names, "field", self._label], body

    def _below(self, rows: Sequence[peek.Row], chosen: Sequence[int], width: int) -> list[str] | None:
        """Return a line for each key, and below it one for each field."""
        body = [[f"  {self._fields[at]}", self._text(row.numbers[at])] for row in rows for at in chosen]
        lines = fitted(["", self._label], body, numbers=[1], width=width, least=_LEAST)
        if lines is None:
            return None
        del lines[0]
        names, *keys = (
            shortened(printable(" ".join(filter(None, key))), width)
            for key in (self._names, *(peek.values(row, self._names) for row in rows))
        )
        each = len(chosen)
        blocks = (lines[at * each : (at + 1) * each] for at in range(len(keys)))
        return [names, *(line for key, block in zip(keys, blocks, strict=True) for line in (key, *block))]


def _passes(series: Counted, text: str) -> bool:
    if not text:
        return True
    shown = " ".join(f"{name}={peek.text(value)}" for name, value in series.attributes)
    return text.lower() in shown.lower()


def _joined(
    header: Sequence[str], rows: Sequence[Sequence[str]], keys: int
) -> tuple[list[str], list[list[str]]]:
    """Return the table with its first *keys* columns as one."""
    joined = [[" ".join(filter(None, row[:keys])), *row[keys:]] for row in (header, *rows)]
    return joined[0], joined[1:]
