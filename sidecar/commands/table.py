# SPDX-License-Identifier: Apache-2.0
"""Columns of text for a terminal or a pipe (pure, but for asking what the terminal is)."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

_GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> list[str]:
    """Return the lines of a table; the columns at the places *numbers* are aligned to the right."""
    lines = [header, *rows]
    widths = [max(len(row[at]) for row in lines) for at in range(len(header))]
    return [_GAP.join(_cells(row, widths, numbers)).rstrip() for row in lines]


def _cells(row: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> Iterator[str]:
    for at, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.rjust(width) if at in numbers else text.ljust(width)


def bold(text: str, stream: TextIO | None = None) -> str:
    """Return *text* in bold if *stream* (standard output) is a terminal that wants it (https://no-color.org)."""
    return f"\x1b[1m{text}\x1b[0m" if _wants_colours(stream or sys.stdout) else text


def _wants_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Return *text* with what would control the terminal escaped: names in the kernel are anybody's."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
