# SPDX-License-Identifier: Apache-2.0
"""Text from outside is one line and cannot control a terminal."""

import errno
import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.commands import registry
from sidecar.commands.json_text import json_text
from sidecar.commands.table import table
from sidecar.errors import ConfigError, SidecarError, from_os_error, printable
from sidecar.log_fields import about
from sidecar.observe.log_formats import LONGEST_LINE, JsonLine, OneLine

EVIL = (
    "\x1b[2J\x07\x00\x7f\x9b31m\r\n\u0085\u2028\u2029\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\udcff"
)


@pytest.mark.parametrize("char", EVIL.replace("[2J", "").replace("31m", ""))
def test_control_characters_become_escapes(char):
    """ESC, BEL, C0 and C1, line separators, bidirectional marks, zero-width characters, lone surrogates."""
    assert printable(f"a{char}b") == f"a{ascii(char)[1:-1]}b"


def test_readable_text_is_unchanged():
    """Whatever the script."""
    assert printable("naïve Ελλάδα 日本 🙂") == "naïve Ελλάδα 日本 🙂"


def test_long_text_is_cut():
    """To the requested length, escapes included."""
    assert printable("x" * 500) == "x" * 500
    assert printable("x" * 501) == "x" * 499 + "…"
    assert printable("\n" * 10**6, 10) == r"\n\n\n\n\…"
    assert printable("x" * 10**4, None) == "x" * 10**4


@given(st.text(st.characters(), max_size=600))
def test_any_text_is_one_short_line(text):
    """A second call changes nothing, so an error may quote another."""
    shown = printable(text)

    assert shown.isprintable()
    assert len(shown) <= 500
    assert printable(shown) == shown


def test_no_part_of_an_error_hides_the_others():
    """However long a quoted text is, the remedy is shown."""
    error = ConfigError("read it", EVIL * 100_000, "fix it")

    assert str(error).isprintable()
    assert str(error).endswith("…: fix it")
    assert len(str(error)) < 600


def test_a_lack_of_descriptors_is_not_reported_as_a_missing_object():
    """Whatever was to be opened."""
    error = from_os_error("open x", OSError(errno.EMFILE, ""), rights="r", otherwise="name a pinned map")

    assert "raise the limit of open files" in str(error)


def test_no_log_record_writes_a_second_line():
    """Whether a library logs it or the sidecar."""
    formatter = OneLine("%(levelname)s %(message)s")
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s said %s", ("it", EVIL * 1000), None)
    line = formatter.format(record)

    assert line.startswith(r"INFO it said \x1b[2J\x07")
    assert line.isprintable()
    assert len(line) <= LONGEST_LINE + len("INFO ")


def test_a_record_of_json_is_one_line_of_ascii():
    """Also with a traceback, and with fields that quote anything."""
    try:
        raise RuntimeError(EVIL)
    except RuntimeError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s said %s", ("it", EVIL), info)
    record.created = 1_700_000_000.5
    record.__dict__.update(about("pin:/x", points=1 << 63, said=EVIL))
    line = JsonLine().format(record)
    members = json.loads(line)

    assert line.isprintable()
    assert line.isascii()
    assert list(members) == ["time", "level", "source", "points", "said", "message", "traceback"]
    assert (members["time"], members["level"]) == ("2023-11-14T22:13:20.500Z", "warning")
    assert (members["source"], members["points"]) == ("pin:/x", 1 << 63)
    assert members["traceback"].startswith("Traceback (most recent call last):\n")


def test_a_line_of_text_begins_with_its_source():
    """JSON has a member for it."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "read again", (), None)
    record.__dict__.update(about("pin:/x", tries=3))

    assert OneLine("%(levelname)s %(message)s").format(record) == "INFO pin:/x: read again"
    assert json.loads(JsonLine().format(record))["message"] == "read again"


def test_tables_and_json_control_no_terminal():
    """Strings in maps and names in the kernel are untrusted; JSON escapes them in ASCII."""
    lines = table([EVIL, "b"], [["a", EVIL * 10_000]])

    assert all(line.isprintable() for line in lines)
    assert json_text({EVIL: [EVIL]}).isprintable()
    assert json_text("é").isascii()
    assert json.loads(json_text({EVIL: [EVIL]}, indent=1)) == {EVIL: [EVIL]}


def test_a_traceback_cannot_control_a_terminal():
    """It has several lines, but what it quotes adds none."""
    try:
        raise RuntimeError(EVIL)
    except RuntimeError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 0, "bug", None, (type(error), error, error.__traceback__)
        )
    lines = OneLine("%(message)s").format(record).split("\n")

    assert lines[0] == "bug"
    assert lines[1] == "Traceback (most recent call last):"
    assert all(line.isprintable() for line in lines)


def test_every_exit_code_is_documented():
    """In the help text, and in docs/command-line.md."""
    kinds, codes = [SidecarError], {0}
    while kinds:
        kind = kinds.pop()
        codes.add(kind.exit_code)
        kinds += kind.__subclasses__()
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text()
    table = page.split("## Exit codes")[1].split("\n## ")[0]

    assert {int(code) for code in re.findall("^\\| ([0-9]+) \\|", table, re.MULTILINE)} == codes
    assert {
        int(code) for code in re.findall("(?:^ +|  +)([0-9]+) [a-z]", registry._EXIT_CODES, re.MULTILINE)
    } == codes
