# SPDX-License-Identifier: Apache-2.0
"""The man pages, read by the programs that show and index them."""

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone

import pytest

from demo.processes import ROOT
from release import manual
from sidecar.commands import registry

PAGES = {"xdp-otel": []} | {f"xdp-otel-{each.name}": [each.name] for each in registry.COMMANDS}


def said(*command):
    env = {**os.environ, "LANG": "C.UTF-8", "COLUMNS": "1000", "MANWIDTH": "1000"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60, env=env)
    assert done.stderr == ""
    return done.stdout


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program} here")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("man1")
    manual.write(directory, datetime(2026, 3, 1, tzinfo=timezone.utc))
    return directory


def test_each_command_has_a_page(directory):
    assert {f"{name}.1" for name in PAGES} == {path.name for path in directory.iterdir()}


@needs("man")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_the_help_does(directory, name):
    """All flags, and examples and exit codes line by line; groff warns of nothing."""
    page = said("man", "--warnings", "--local-file", directory / f"{name}.1")
    shown = {line.strip() for line in page.splitlines()}
    helped = said(sys.executable, "-m", "sidecar", *PAGES[name], "--help")
    options, examples = helped.split("\nexamples:\n")
    lines = {line.strip() for line in examples.splitlines() if line.startswith(" ")}

    assert set(re.findall(r"^ +(--[\w-]+)", options, re.MULTILINE)) <= set(re.findall(r"--[\w-]+", page))
    assert lines - shown == set()
    assert {"EXAMPLES", "EXIT STATUS", "SEE ALSO"} <= shown
    assert "March 1, 2026" in page


@needs("lexgrog")
@pytest.mark.parametrize("name", PAGES)
def test_apropos_finds_a_page(directory, name):
    path = directory / f"{name}.1"
    assert said("lexgrog", path).startswith(f'{path}: "{name} - ')


@needs("mandoc")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_warning(directory, name):
    """Of the lines longer than 80 bytes, which it calls a matter of style, the parsers' texts have many."""
    assert said("mandoc", "-T", "lint", "-W", "warning", directory / f"{name}.1") == ""
