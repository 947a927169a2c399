# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/rights.md that give a service user a pin, and that remove everything, as typed."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.test_rights import LAUNCHER, NOBODY, READ
from tests.kernel.user_program import ROOT
from tests.waiting import patient

PAGE = (ROOT / "docs/rights.md").read_text()
# bpffs as systemd mounts it, and of this shell alone; commands of a user's installation, by that name.
SHELL = """
set -euo pipefail
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
mount -t tmpfs none /var/lib
xdp-otel() {{ (cd {root} && {python} -m sidecar "$@"); }}
user() {{ {python} {launcher} {nobody} {nobody} "{rights}" "$@"; }}
runuser() {{ (export PYTHONPATH={root}; cd / && user "${{@:5}}"); }}
"""


def typed(heading):
    """Return the commands below a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall("^    (.*)$", section, re.MULTILINE)


@pytest.fixture
def shell():
    """Run lines in a mount namespace of their own, with nobody as service user; return code and output."""
    etc = Path(tempfile.mkdtemp(prefix="xdp-otel-etc-"))
    etc.chmod(0o755)
    setup = SHELL.format(root=ROOT, python=sys.executable, launcher=LAUNCHER, nobody=NOBODY, rights=READ)

    def run(*lines):
        script = "\n".join((setup, *lines))
        script = script.replace("/etc/xdp-otel", str(etc)).replace("chgrp xdp-otel", f"chgrp {NOBODY}")
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(120),
        )
        return done.returncode, done.stdout + done.stderr

    yield run
    shutil.rmtree(etc)


@pytest.fixture
def load(tmp_path):
    """The line that loads flows.bpf.c and pins its map at the place of the page."""
    program = compile_object(MAPS / "flows.bpf.c", tmp_path / "flows.o")
    return f"bpftool prog load {program} /sys/fs/bpf/prog type xdp pinmaps /sys/fs/bpf"


def test_a_service_user_reads_a_pin_after_both_steps(shell, load):
    """And after neither of them alone."""
    way_in, pin, *rest = typed("Give a service user a pin to read")
    assert (len(rest), rest[-1].split()[:2]) == (3, ["runuser", "-u"])
    code, output = shell(load, way_in, pin, *rest)
    assert code == 0, output
    assert "pin:/sys/fs/bpf/flows: map flows, id " in output
    for step in (way_in, pin):
        code, output = shell(load, step, *rest)
        assert (code, "EACCES" in output) == (4, True), step


def test_everything_can_be_removed(shell, load, veth):
    """Nothing stays on the interface, in bpffs or in the state directory."""
    lines = [line.replace("eth0", veth.name) for line in typed("Remove everything")]
    counting = f"xdp-otel attach --interface {veth.name}"
    once = "xdp-otel run --once --otel-endpoint none --status-address localhost:0"
    look = f"ip link show {veth.name}; ls -A /sys/fs/bpf /var/lib"
    before, found = (
        shell(load, counting, f"{once} --interface {veth.name} >&2", *typed, look) for typed in ([], lines)
    )

    assert before[0] == found[0] == 0, found[1]
    for trace in ("prog/xdp id", "\nflows\n", "\nxdp-otel\n"):
        assert trace in before[1]
        assert trace not in found[1], trace
