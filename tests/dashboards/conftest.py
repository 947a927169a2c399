# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of dashboards and rules."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))


@pytest.fixture
def root():
    return ROOT


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request):
    return json.loads(request.param.read_text())


@pytest.fixture
def promtool():
    program = ROOT / ".build/bin/promtool"
    assert program.exists(), "no .build/bin/promtool: `make promtool` builds it"
    return program
