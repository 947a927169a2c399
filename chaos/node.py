# SPDX-License-Identifier: Apache-2.0
"""A node: its interface, the XDP program on it, the sidecar that reads its map, and the traffic."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from enum import Enum
from functools import partial
from pathlib import Path

from chaos.counters import ZERO, add
from chaos.program import Pinned
from chaos.watch import Watch
from demo import stack
from demo.bpf_commands import map_update
from demo.interruption import pause
from demo.namespaces import CLIENT_INTERFACE, NODE_INTERFACE, lab
from demo.processes import ROOT, end, environment, python, spawn
from demo.service import Service
from demo.tap import Counts
from sidecar import bpf_reader
from sidecar.kernel import syscall as bpf


class Mode(Enum):
    """How the sidecar exports its counts (docs/delivery.md, "Three ways to send")."""

    BASE = "base point"
    CUMULATIVE = "cumulative"
    DELTA = "plain delta"


INTERVAL_S = 0.3
"""Seconds between the sidecar's cycles, short so that faults hit many of them."""


class Node:
    """All parts of one machine; *cleanup* ends whatever it starts."""

    def __init__(
        self,
        cleanup: ExitStack,
        directory: Path,
        name: str,
        endpoint: int | str,
        *,
        seed: int,
        mode: Mode = Mode.BASE,
        interval_s: float = INTERVAL_S,
        environment: Mapping[str, str] | None = None,
        program: Pinned | None = None,
        inside: Sequence[str] = (),
        state: Path | None = None,
    ) -> None:
        """
        Make the namespaces; start nothing yet.

        Args:
            cleanup: Undoes everything.
            directory: Created for state and log.
            name: Unique within the process.
            endpoint: Where the sidecar exports to: a port on 127.0.0.1, or a whole address.
            seed: Of the traffic.
            mode: How counts are exported.
            interval_s: Seconds between cycles.
            environment: More variables for the sidecar.
            program: Read this program's pin instead of attaching the shipped program.
            inside: A command in front of the sidecar's, such as unshare.
            state: The path of the state directory inside the sidecar's mount namespace, if different.

        """
        directory.mkdir()
        self.name = name
        self.mode = mode
        self.interval_s = interval_s
        self.state = directory / "state"
        self.lab = cleanup.enter_context(lab(f"chaos-{name}"))
        self._cleanup = cleanup
        self._seed = seed
        self._finished: Counts = dict(ZERO)
        self._program = program
        self._traffic: subprocess.Popen[bytes] | None = None
        self.held_at: float | None = None
        """Monotonic time since which no frames are sent, or None."""
        self.sidecar = Service(
            name=f"the sidecar of {name}",
            command=[*inside, *self._command(endpoint, state or self.state)],
            env=self._environment(environment or {}),
            log=directory / "sidecar.log",
            ready=lambda: (self.state / "instance-id").exists() and self.pin.exists(),
        )
        self.watch = Watch(self.sidecar, self.state)
        cleanup.callback(self.watch.close)

    def _command(self, endpoint: int | str, state: Path) -> list[str]:
        where = ["--interface", NODE_INTERFACE, "--netns", self.lab.node]
        if self._program is not None:
            where = ["--map-path", str(self._program.pin)]
        options = ["--interval", str(self.interval_s), "--state-dir", str(state), "--log-level", "debug"]
        options += ["--otel-endpoint", f"127.0.0.1:{endpoint}" if isinstance(endpoint, int) else endpoint]
        if self.mode is Mode.BASE:
            options.append("--base-point")
        return [*python("chaos.child", "run"), *where, *options]

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        cumulative = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}
        return {**environment(), **(cumulative if self.mode is Mode.CUMULATIVE else {}), **more}

    @property
    def pin(self) -> Path:
        """The pin of the map."""
        if self._program is not None:
            return self._program.pin
        return stack.pins(NODE_INTERFACE, self.lab.node) / "stats_map"

    @property
    def instance(self) -> str:
        """The sidecar's `service.instance.id`."""
        return (self.state / "instance-id").read_text().strip()

    def start(self) -> None:
        """Start sidecar and traffic; the program sees the first frame."""
        if self._program is None:
            self._cleanup.callback(stack.detach, NODE_INTERFACE, self.lab.node)
        else:
            self._cleanup.enter_context(self._program.attached(self.lab.node, NODE_INTERFACE))
        self._cleanup.enter_context(self.sidecar)
        self.lab.connect()
        self.send()
        self._cleanup.callback(self._end_traffic)

    def send(self) -> None:
        """Start a stream of frames, or resume it if it was held."""
        self.held_at = None
        if self._traffic is not None and self._traffic.poll() is None:
            self._traffic.send_signal(signal.SIGCONT)
            return
        self._end_traffic()
        self._seed += 1
        command = python("chaos.traffic", CLIENT_INTERFACE, str(self._seed))
        self._traffic = spawn(command, namespace=self.lab.client, stderr=subprocess.DEVNULL)

    def hold(self) -> None:
        """Pause the stream of frames until `send`."""
        if self._traffic is not None and self.held_at is None:
            self._traffic.send_signal(signal.SIGSTOP)
            self.held_at = time.monotonic()

    def _end_traffic(self) -> None:
        if self._traffic is not None:
            self._traffic.send_signal(signal.SIGCONT)
            end(self._traffic)

    def kernel(self) -> Counts:
        """Return the kernel's counts in the current map and all maps before it."""
        running = [] if self._program is None else self._program.before()
        return add(self._finished, self.kernel_here(), *running)

    def kernel_here(self) -> Counts:
        """Return the counts in the current map."""
        return stack.map_counts("pinned", str(self.pin))

    def finish(self, counts: Counts) -> None:
        """Add the final counts of a map that is gone or was emptied."""
        self._finished = add(self._finished, counts)

    def log(self) -> str:
        """Return the log of all the sidecar's processes."""
        return self.sidecar.log.read_text(errors="replace")

    def cycles(self) -> int:
        """Return the number of cycles of all the sidecar's processes."""
        return self.log().count(": Total: ")

    def empty(self) -> None:
        """Zero the map, as another program might; its counts stay in the total, to the packet."""
        self.hold()
        pause(0.05)  # for frames in flight
        self.finish(self.kernel_here())
        fd = bpf.obj_get(str(self.pin))
        try:
            map_update(fd, bytes(4), bytes(bpf_reader.lookup_bytes(bpf.map_info(fd))))
        finally:
            os.close(fd)
        self.send()

    def die_at(self, step: str, side: str, count: int, *, timeout_s: float) -> bool:
        """Start a sidecar that kills itself there (chaos.child); return whether it did in time."""
        env = self.sidecar.env
        self.sidecar.env = {**env, "CHAOS_DIE": f"{step}:{side}:{count}"}
        self.sidecar.launch()
        self.sidecar.env = env
        process = self.sidecar.process
        if process is None:
            return False
        try:
            died = process.wait(timeout_s) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            died = False
        self.sidecar.kill()
        return died

    def map_id(self) -> int:
        """Return the id of the pinned map."""
        fd = bpf.obj_get(str(self.pin))
        try:
            return bpf.map_info(fd).id
        finally:
            os.close(fd)

    def detach(self) -> tuple[int, str]:
        """Run `xdp-otel detach` for the interface; return its exit code and output."""
        where = ("--interface", NODE_INTERFACE, "--netns", self.lab.node)
        return self._run([*python("sidecar", "detach"), *where])

    def run_second(self, state: Path | None = None) -> tuple[int, str]:
        """
        Run a second sidecar, on the same state directory or on *state*; return exit code and last line.

        After 30 s it is killed, with -1 as exit code.
        """
        other = str(state or self.state)
        command = [other if part == str(self.state) else part for part in self.sidecar.command]
        code, output = self._run(command)
        return code, output.strip().rpartition("\n")[2]

    def _run(self, command: Sequence[str]) -> tuple[int, str]:
        run = partial(subprocess.run, env=self.sidecar.env, cwd=ROOT, start_new_session=True)
        try:
            done = run(command, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired as error:
            return -1, (error.stderr or b"").decode(errors="replace")
        return done.returncode, done.stderr
