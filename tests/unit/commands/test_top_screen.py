# SPDX-License-Identifier: Apache-2.0
"""The terminal of `top`."""

import sys

import pytest

from sidecar.commands.top_screen import keys
from tests.terminal import Running
from tests.waiting import answered

FAILING = """
import logging
from sidecar.commands.top_screen import Screen
with Screen() as screen:
    screen.show(["before\u2026"])
    logging.warning("not on the screen")
    screen.show([screen.message])
    input()
    raise RuntimeError("after")
"""


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("q", ["q"]),
        ("/é\r", ["/", "é", "enter"]),
        ("a\x7f\b\n", ["a", "backspace", "backspace", "enter"]),
        ("\x1b", ["escape"]),
        ("\x1b\x1b", ["escape", "escape"]),
        ("\x1b[A\x1bOB\x1b[15~\x1b[1;5Cq", ["q"]),
        ("\x1bf", []),
        ("\x1b[200~a b\x1b[201~", ["a", " ", "b"]),
        ("\x00\x01\t", []),
    ],
)
def test_keys(sent, expected):
    """Cursor keys, Alt and control characters are no keys of `top`; Escape is."""
    assert list(keys(sent)) == expected


def test_a_failure_restores_the_terminal():
    """Screen, echo and log are as before, so that the error can be read."""
    with Running([sys.executable, "-c", FAILING], terminal=(10, 40)) as running:
        before = running.mode
        answered(lambda: running.screen[0] == "not on the screen")
        assert running.mode != before
        running.press("\n")

        assert running.end() == 1
        assert running.mode == before
        assert b"\x1b[?1049lTraceback" in running.output
        assert "RuntimeError: after" in running.output.decode()


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "before…"), ("ascii", "before~")])
def test_an_ellipsis_is_one_character_in_any_encoding(encoding, shown):
    """An escape would be six, and the line too long."""
    program = FAILING.replace("logging.warning", "str").replace("screen.show([screen.message])", "")
    command = [sys.executable, "-c", program]
    with Running(command, terminal=(10, 40), environ={"PYTHONIOENCODING": encoding}) as running:
        answered(lambda: running.screen[0] == shown)
