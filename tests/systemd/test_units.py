# SPDX-License-Identifier: Apache-2.0
"""Static checks of the units."""

import shutil
import subprocess

import pytest

from demo.processes import ROOT

SYSTEMD = ROOT / "deploy/systemd"
UNITS = ("xdp-otel.service", "otelcol-xdp.service")
DROP_INS = sorted(path.name for path in (SYSTEMD / "drop-ins").glob("*.conf"))
# In tenths. names.conf needs CAP_SYS_ADMIN; without any hardening the exposure is 96.
THRESHOLDS = {"names.conf": 35}

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")


def analyze(*arguments):
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def unit(tmp_path):
    """Return a function that copies a unit, with an optional drop-in, so that it can be verified alone."""

    def make(name, drop_in=None):
        text = (SYSTEMD / name).read_text()
        path = tmp_path / name
        # The programs are not installed on the test machine.
        path.write_text(text.replace("ExecStart=/opt/xdp-otel/bin/", "ExecStart=/bin/true "))
        if drop_in:
            (tmp_path / f"{name}.d").mkdir()
            shutil.copy(SYSTEMD / "drop-ins" / drop_in, tmp_path / f"{name}.d")
        return path

    return make


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_valid(unit, name):
    """No unknown key and no wrong value; systemd-analyze reports those as text, not by its exit code."""
    verified = analyze("verify", str(unit(name)))

    assert (0, "") == (verified.returncode, verified.stderr)


def test_a_misspelt_key_is_detected(unit):
    """The test above can fail."""
    path = unit(UNITS[0])
    path.write_text(path.read_text().replace("ProtectClock=", "ProtectClocks="))

    assert "ProtectClocks" in analyze("verify", str(path)).stderr


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_a_drop_in_is_valid_and_keeps_the_unit_hardened(unit, drop_in):
    """With its unit it verifies, and the exposure stays below a limit."""
    path = unit(UNITS[0], drop_in)

    verified = analyze("verify", str(path))
    limit = THRESHOLDS.get(drop_in, 20)
    secure = analyze("security", "--offline=true", f"--threshold={limit}", "--no-pager", str(path))

    assert (0, "") == (verified.returncode, verified.stderr)
    assert 0 == secure.returncode, secure.stdout.splitlines()[-1]


def test_every_drop_in_is_documented():
    """The README's table lists all drop-ins."""
    text = (SYSTEMD / "drop-ins/README.md").read_text()

    assert [name for name in DROP_INS if f"`{name}`" not in text] == []


def test_the_environment_file_has_the_default_source():
    """`install` replaces exactly this line with the chosen interface."""
    lines = (SYSTEMD / "xdp-otel.env").read_text().splitlines()

    assert ["XDP_OTEL_SOURCES=--interface=auto"] == [
        line for line in lines if line.startswith("XDP_OTEL_SOURCES")
    ]
