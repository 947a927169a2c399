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
    lines = [[printable(text, _LONGEST_CELL) for text in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [_GAP.join(_cells(row, widths, numbers)).rstrip() for row in lines]


def _cells(row: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> Iterator[str]:
    for column, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.rjust(width) if column in numbers else text.ljust(width)


def bold(text: str, stream: TextIO | None = None) -> str:
    """Return *text* in bold if *stream* (default: stdout) is a terminal with styles (https://no-color.org)."""
    return f"\x1b[1m{text}\x1b[0m" if _is_styled(stream or sys.stdout) else text


def _is_styled(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
