# SPDX-License-Identifier: Apache-2.0
"""The man pages, read by the programs that show and index them."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone

import jsonschema
import pytest
import yaml

from demo.processes import ROOT
from release import manual, manual_of_file
from sidecar.commands import registry

COMMANDS = {"xdp-otel.1": []} | {f"xdp-otel-{each.name}.1": [each.name] for each in registry.COMMANDS}
PAGES = [*COMMANDS, "xdp-otel.yaml.5"]


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
    assert set(PAGES) == {path.name for path in directory.iterdir()}


@needs("man")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_shows_what_the_help_does(directory, name):
    """All flags, and examples and exit codes line by line; groff warns of nothing."""
    page = said("man", "--warnings", "--local-file", directory / name)
    shown = {line.strip() for line in page.splitlines()}
    helped = said(sys.executable, "-m", "sidecar", *COMMANDS[name], "--help")
    options, examples = helped.split("\nexamples:\n")
    lines = {line.strip() for line in examples.splitlines() if line.startswith(" ")}

    assert set(re.findall(r"^ +(--[\w-]+)", options, re.MULTILINE)) <= set(re.findall(r"--[\w-]+", page))
    assert lines - shown == set()
    assert {"EXAMPLES", "EXIT STATUS", "SEE ALSO"} <= shown
    assert "March 1, 2026" in page


@needs("man")
def test_the_page_of_the_file_has_its_keys(directory):
    """Of a source and of a metric, with their values; the schema accepts the example."""
    page = said("man", "--warnings", "--local-file", directory / "xdp-otel.yaml.5")
    schema = json.loads((ROOT / "sidecar/config.schema.json").read_text())
    definitions = schema["definitions"]
    keys = {*definitions["source"]["properties"], *definitions["metrics"]["items"]["properties"]}
    shown = set(re.findall(r"^ {7}(\w+)", page, re.MULTILINE))

    assert keys - shown == set()
    assert "One of: counter, updowncounter, gauge" in page
    jsonschema.validate(yaml.safe_load(manual_of_file.EXAMPLE), schema)


@needs("lexgrog")
@pytest.mark.parametrize("name", PAGES)
def test_apropos_finds_a_page(directory, name):
    path = directory / name
    assert said("lexgrog", path).startswith(f'{path}: "{path.stem} - ')


@needs("mandoc")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_warning(directory, name):
    """Of the lines longer than 80 bytes, which it calls a matter of style, the parsers' texts have many."""
    assert said("mandoc", "-T", "lint", "-W", "warning", directory / name) == ""
