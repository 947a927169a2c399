# SPDX-License-Identifier: Apache-2.0
"""What `top` says, without a map and a terminal."""

import os

from sidecar.commands.peek import Row
from sidecar.commands.table import bold, table
from sidecar.commands.top_screen import Meter, lines
from sidecar.errors import printable


def meter(*counts, seconds=2.0):
    rows = tuple(Row((("name", f"key{at}"),), count) for at, count in enumerate(counts))
    return Meter("pin:/a: map a, id 1, HASH", ("packets", "bytes"), rows, seconds)


def test_rates_are_per_second_and_the_highest_comes_first():
    """Two seconds' counts, halved."""
    said = lines("12:00:00", [meter((10, 100), (4000, 7), (0, 5))], None)

    assert said == [
        "12:00:00  per second, over 2.0 s",
        "",
        "pin:/a: map a, id 1, HASH",
        "name  packets  bytes",
        "key1  2,000.0    3.5",
        "key0      5.0   50.0",
        "key2      0.0    2.5",
    ]


def test_a_field_that_fell_counts_by_how_far():
    """An up-down counter's rate may be below zero; what changes most is first."""
    said = lines("12:00:00", [meter((1, 0), (-8, 0))], None)

    assert [line.split()[:2] for line in said[4:]] == [["key1", "-4.0"], ["key0", "0.5"]]


def test_what_does_not_fit_is_counted():
    """Two sources share the screen; its last line is left for the log."""
    meters = [meter(*((at, 0) for at in range(50))), meter((1, 1))]
    said = lines("12:00:00", meters, os.terminal_size((80, 20)))

    assert len(said) <= 19
    assert sum(line.startswith("key") for line in said) == 5 + 1
    assert "… and 45 more" in said


def test_no_screen_is_too_small():
    """Of a terminal of a few lines none is overrun either."""
    for height in range(1, 12):
        for width in (1, 10, 40):
            said = lines("12:00:00", [meter((5, 6), (7, 8))] * 3, os.terminal_size((width, height)))

            assert len(said) < max(2, height)


def test_columns_are_aligned_and_nothing_trails():
    """Numbers to the right; the last column is not filled up."""
    assert table(["a", "n"], [["long", "1"], ["b", "1,000"]], numbers=[1]) == [
        "a         n",
        "long      1",
        "b     1,000",
    ]


def test_names_cannot_control_the_terminal():
    """A pin's name may have any character but a slash and a dot."""
    assert printable("a\x1b[2Jb\nc\u202ed é") == "a\\x1b[2Jb\\nc\\u202ed é"


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    """No terminal, NO_COLOR or a dumb one: plain text."""

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert bold("x", Terminal()) == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert bold("x", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert bold("x", Terminal()) == "x"
