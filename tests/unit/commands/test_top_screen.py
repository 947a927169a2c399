# SPDX-License-Identifier: Apache-2.0
"""The output of `top`, without a map or a terminal."""

import os

from sidecar.commands.peek import Row
from sidecar.commands.table import bold, table
from sidecar.commands.top_screen import Meter, lines
from sidecar.errors import printable


def meter(*counts, seconds=2.0):
    rows = tuple(Row((("name", f"key{at}"),), count) for at, count in enumerate(counts))
    return Meter("pin:/a: map a, id 1, HASH", ("packets", "bytes"), rows, seconds)


def test_rates_are_per_second_and_the_highest_comes_first():
    """The counts of two seconds, halved."""
    shown = lines("12:00:00", [meter((10, 100), (4000, 7), (0, 5))], None)

    assert shown == [
        "12:00:00  per second, over 2.0 s",
        "",
        "pin:/a: map a, id 1, HASH",
        "name  packets  bytes",
        "key1  2,000.0    3.5",
        "key0      5.0   50.0",
        "key2      0.0    2.5",
    ]


def test_rates_sort_by_magnitude():
    """The rate of an updowncounter may be negative; the largest change is first."""
    shown = lines("12:00:00", [meter((1, 0), (-8, 0))], None)

    assert [line.split()[:2] for line in shown[4:]] == [["key1", "-4.0"], ["key0", "0.5"]]


def test_series_that_do_not_fit_are_summarized():
    """Two sources share the screen; its last line is reserved for the log."""
    meters = [meter(*((at, 0) for at in range(50))), meter((1, 1))]
    shown = lines("12:00:00", meters, os.terminal_size((80, 20)))

    assert len(shown) <= 19
    assert sum(line.startswith("key") for line in shown) == 5 + 1
    assert "… and 45 more" in shown


def test_no_screen_is_too_small():
    """Even a screen of a few lines is never overrun."""
    for height in range(1, 12):
        for width in (1, 10, 40):
            shown = lines("12:00:00", [meter((5, 6), (7, 8))] * 3, os.terminal_size((width, height)))

            assert len(shown) < max(2, height)


def test_columns_are_aligned_and_nothing_trails():
    """Numbers are right-aligned; no line ends in spaces."""
    assert table(["a", "n"], [["long", "1"], ["b", "1,000"]], numbers=[1]) == [
        "a         n",
        "long      1",
        "b     1,000",
    ]


def test_names_cannot_control_the_terminal():
    """The name of a pin may contain any character except slash and dot."""
    assert printable("a\x1b[2Jb\nc\u202ed é") == "a\\x1b[2Jb\\nc\\u202ed é"


def test_only_a_capable_terminal_gets_bold_text(monkeypatch):
    """Plain text without a terminal, with NO_COLOR, and on a dumb terminal."""

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
