# SPDX-License-Identifier: Apache-2.0
"""Columns of text for a terminal or a pipe."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from sidecar.errors import printable

_GAP = "  "
_LONGEST_CELL = 2000


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> list[str]:
    """
    Return the lines of a table; the columns at the indices in *numbers* are aligned to the right.

    Control characters are escaped: names in the kernel and strings in maps are untrusted.
    """
    cells = _printable(header, rows)
    return _lines(cells, _widths(cells), numbers)


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int], width: int, least: int
) -> list[str] | None:
    """
    Return the lines of the table, none longer than *width*; None if that cannot be.

    The longest texts are cut first, with an ellipsis, none to fewer than *least* characters. The columns in
    *numbers* are never cut.
    """
    cells = _printable(header, rows)
    widths = _widths(cells)
    while (excess := sum(widths) + len(_GAP) * (len(widths) - 1) - width) > 0:
        long = [column for column, length in enumerate(widths) if column not in numbers and length > least]
        if not long:
            return None
        longest, *others = sorted(long, key=lambda column: -widths[column])
        next_longest = widths[others[0]] if others else least
        widths[longest] -= max(1, min(excess, widths[longest] - max(least, next_longest)))
    return _lines(cells, widths, numbers)


def shortened(text: str, length: int) -> str:
    """Return *text*, cut to *length* characters, the last of them an ellipsis."""
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"[:length]


def _printable(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[printable(text, _LONGEST_CELL) for text in row] for row in (header, *rows)]


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int], numbers: Sequence[int]) -> list[str]:
    return [_GAP.join(_cells(row, widths, numbers)).rstrip() for row in cells]


def _cells(row: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> Iterator[str]:
    for column, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.rjust(width) if column in numbers else shortened(text, width).ljust(width)


def bold(text: str, stream: TextIO | None = None) -> str:
    """Return *text* in bold if *stream* (default: stdout) is a terminal with styles (https://no-color.org)."""
    return f"\x1b[1m{text}\x1b[0m" if _is_styled(stream or sys.stdout) else text


def _is_styled(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
