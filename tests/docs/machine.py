# SPDX-License-Identifier: Apache-2.0
"""
A machine as the documents assume it: eth0, an empty bpffs, the default ports, and a clone that is built.

It is a network and a mount namespace of their own, so the host's interfaces, pins and ports are untouched.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from demo.processes import environment
from sidecar.kernel.netns import entered
from tests.docs.document import ROOT

INTERFACE, PEER = "eth0", "peer0"

_SETUP = f"""
set -eu
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /var/lib
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
ip link set lo up
ip link add {INTERFACE} type veth peer name {PEER}
ip link set {INTERFACE} up
ip link set {PEER} up
echo ready
exec sleep infinity
"""
# What was built before is what is tested: nothing is built here.
_BUILT = (
    *(f".build/bin/{name}" for name in ("ocb", "otelcol-xdp", "prometheus")),
    *(".venv/bin/xdp-otel", "sidecar/xdp_packet_counter.bpf.o"),
)
_MAKE = f"""#!/bin/sh
PATH=${{PATH#*:}} exec make {" ".join(f"--old-file={file}" for file in _BUILT)} "$@"
"""
# The reader is root already, and may have no sudo.
_SUDO = """#!/bin/sh
case "$1" in -s) ;; *) exec "$@" ;; esac
"""
_LASTING = ("make stack", "make run", "xdp-otel --", "xdp-otel run ")


class Machine:
    """Types commands into the machine; what runs until Ctrl-C stays until `interrupt` or the end."""

    def __init__(self, directory):
        self.clone = directory / "clone"
        self.clone.mkdir()
        # `make clean` deletes in these two: links here, not what they lead to.
        for place in (".", "sidecar"):
            (self.clone / place).mkdir(exist_ok=True)
            for entry in (ROOT / place).iterdir():
                if entry != ROOT / "sidecar":
                    (self.clone / place / entry.name).symlink_to(entry)
        tools = directory / "tools"
        tools.mkdir()
        for name, text in {"make": _MAKE, "sudo": _SUDO}.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self._environment = {**environment(), "PATH": f"{tools}:{os.environ['PATH']}"}
        self._exports = ["set -euo pipefail"]
        self._lasting = []
        self._log = directory / "terminal"

    def __enter__(self):
        self._namespaces = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-c", _SETUP],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._namespaces.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        try:
            while self._lasting:
                self.interrupt()
        finally:
            with self._namespaces:
                self._namespaces.kill()

    def type(self, line):
        """Type a line; return what it prints. A comment that mentions Ctrl-C is obeyed, others are not."""
        if line.startswith("#"):
            if "Ctrl-C" in line:
                self.interrupt()
            return ""
        if line.startswith(("export ", "cd ")):
            self._exports.append(line)
        if line.startswith(_LASTING) and "--once" not in line:
            return self._start(line)
        # A page that is served by what was just started may take a moment.
        deadline = time.monotonic() + (30 if line.startswith("curl ") else 0)
        while (done := self._run(line)).returncode and time.monotonic() < deadline:
            time.sleep(0.2)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}{self._printed()}"
        return done.stdout

    def interrupt(self):
        """Press Ctrl-C where the last command still runs."""
        process = self._lasting.pop()
        os.killpg(process.pid, signal.SIGINT)
        try:
            code = process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        # make takes its own Ctrl-C after its command has ended.
        assert code in (0, -signal.SIGINT if "make" in process.args[-1] else 0), self._printed()

    def inside(self):
        """Run the block in the machine's network."""
        return entered(f"/proc/{self._namespaces.pid}/ns/net")

    def send(self, frame, count):
        """Make eth0 receive a frame, several times."""
        with self.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((PEER, 0))
            for _ in range(count):
                raw.send(frame)

    def _start(self, line):
        begun = "Ctrl-C" if "make" in line else "INFO"
        before = len(self._printed())
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._shell(f"exec {line}"),
                cwd=self.clone,
                env=self._environment,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the group that is in the foreground.
                start_new_session=True,
            )
        self._lasting.append(process)
        deadline = time.monotonic() + 60
        while begun not in self._printed()[before:]:
            assert process.poll() is None, f"ended: {line}\n{self._printed()}"
            assert time.monotonic() < deadline, f"no {begun!r}: {line}\n{self._printed()}"
            time.sleep(0.1)
        return ""

    def _run(self, line):
        return subprocess.run(
            self._shell(line),
            cwd=self.clone,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _shell(self, line):
        target = str(self._namespaces.pid)
        script = "\n".join([*self._exports, line])
        return ["nsenter", "--target", target, "--net", "--mount", "--wd=.", "--", "bash", "-c", script]

    def _printed(self):
        return Path(self._log).read_text() if self._log.exists() else ""
