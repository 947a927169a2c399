# SPDX-License-Identifier: Apache-2.0
"""A registry to push into."""

import os
import re
import subprocess

import pytest

from demo.processes import ROOT
from tests.waiting import answered

CRANE = ROOT / ".build/bin/crane"
# Where the images of the release are: as for `make release`, nowhere unless it is said.
PLACE = os.environ.get("REGISTRY") or "localhost"


@pytest.fixture
def registry(tmp_path):
    """Run a registry in memory; yield its HOST:PORT."""
    with (tmp_path / "log").open("w+") as log:
        command = (CRANE, "registry", "serve", "--address", "127.0.0.1:0")
        serving = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield answered(lambda: _address(tmp_path / "log"))
        finally:
            serving.terminate()
            serving.wait(10)


def _address(log):
    found = re.search(r"serving on port (\d+)", log.read_text())
    return f"127.0.0.1:{found[1]}" if found else None
