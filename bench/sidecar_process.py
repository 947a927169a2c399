# SPDX-License-Identifier: Apache-2.0
"""The sidecar as a process of its own, sending to the receiver: CPU time a cycle, memory."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import process_cpu_s, rss_mib
from bench.place import BUILD, ROOT
from bench.receiver import Receiver
from bench.table import Samples


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar."""

    pid: int
    receiver: Receiver

    def cycles(self, count: int) -> Samples:
        """Return the CPU seconds of each of the next cycles of a source that fits one request."""
        taken = []
        for _ in range(count + 1):
            before, seen = process_cpu_s(self.pid), self.receiver.requests
            self.receiver.wait(lambda seen=seen: self.receiver.requests > seen)  # type: ignore[misc]
            taken.append(process_cpu_s(self.pid) - before)
        # What the first one shares with the start is left out.
        return Samples(taken[1:])

    def rss_mib(self) -> float:
        """Return the memory it holds."""
        return rss_mib(self.pid)


def command(receiver: Receiver, state: str, *options: str) -> list[str]:
    """Return the command that runs a sidecar."""
    return [
        *(sys.executable, "-m", "sidecar", "run", *options),
        *("--otel-endpoint", receiver.address, "--state-dir", state),
    ]


def environment() -> dict[str, str]:
    """Return an environment without settings for somebody else's exporter."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "XDP_OTEL_"))}


@contextmanager
def directory() -> Iterator[str]:
    """Yield a directory on the disk that the project is on: a journal in memory would cost nothing."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as made:
        yield made


@contextmanager
def running(receiver: Receiver, options: Sequence[str], interval_s: float) -> Iterator[Sidecar]:
    """Run a sidecar until the end of the block; its log is lost unless it fails."""
    with directory() as state:
        log = Path(state) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command(receiver, f"{state}/state", *options), "--interval", str(interval_s)],
                cwd=ROOT,
                env=environment(),
                stdout=output,
                stderr=output,
            )
        try:
            seen = receiver.requests
            receiver.wait(lambda: receiver.requests > seen or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError(f"the sidecar ended:\n{log.read_text()}")
            yield Sidecar(process.pid, receiver)
        finally:
            process.terminate()
            process.wait()
