# SPDX-License-Identifier: Apache-2.0
"""`make help`, and what `make run` refuses."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Prerequisites of the others, of no use by themselves.
INTERNAL = {"go", "source", "attached", "release-tools", "version"}


def make(*arguments):
    """Run make; return its exit status and all that it printed."""
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_help_lists_every_target_once_within_80_columns():
    """A target without a line in the help would be known to its author only."""
    text = (ROOT / "Makefile").read_text()
    targets = " ".join(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)).split()
    _, printed = make("help")

    assert sorted(re.findall(r"^  make (\S+)", printed, re.MULTILINE)) == sorted(set(targets) - INTERNAL)
    assert [line for line in printed.splitlines() if len(line) > 80] == []


def test_help_begins_with_the_first_hour():
    """Someone who has just cloned it finds what to type first, before what maintainers need."""
    _, printed = make("help")
    first, *others = printed.split("\n\n")

    assert first.splitlines()[0] == "First hour"
    assert re.findall(r"make (\S+)", first) == ["help", "install", "demo", "stack", "run", "test", "clean"]
    assert [part.splitlines()[0] for part in others] == ["Parts", "Maintenance"]


@pytest.mark.parametrize("given", [(), ("IFACE=eth0", "MAP=/sys/fs/bpf/flows")])
def test_run_wants_exactly_one_thing_to_count(given):
    """Before anything is built, in one line."""
    code, printed = make("run", *given)

    assert code == 2
    assert "IFACE=eth0, MAP=/sys/fs/bpf/PIN and CONFIG=FILE" in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ("IFACE=eth0", "--interface 'eth0'"),
        ("MAP=/sys/fs/bpf/flows", "--map '/sys/fs/bpf/flows'"),
        ("CONFIG=flows.yaml", "--config 'flows.yaml'"),
    ],
)
def test_run_counts_an_interface_a_map_or_what_a_file_names(given, flags):
    """Each reaches the demo as its flag."""
    _, printed = make("--dry-run", "run", given)

    assert printed.splitlines()[-1].endswith(f"-m demo {flags}")
