# SPDX-License-Identifier: Apache-2.0
"""The sidecar as a process that exports to the receiver: CPU time per cycle, memory."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.keys import Map
from bench.measure import peak_mib, process_cpu_s, rss_mib
from bench.place import BUILD, ROOT
from bench.receiver import Receiver
from bench.table import Samples
from demo.processes import environment

# Two timestamps and a number, each with its tag.
_POINT_BYTES = 27


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar."""

    pid: int
    receiver: Receiver
    interval_s: float

    def cycles(self, count: int) -> Samples:
        """Return the CPU seconds of each of the next cycles; the source must fit into one request."""
        taken = []
        for _ in range(count + 1):
            before, seen = process_cpu_s(self.pid), self.receiver.requests
            self.receiver.wait(lambda seen=seen: self.receiver.requests > seen)  # type: ignore[misc]
            taken.append(process_cpu_s(self.pid) - before)
        # The first one overlaps with the start.
        return Samples(taken[1:])

    def periods(self, count: int, held: Map, changed: int) -> Samples:
        """
        Return the CPU seconds of each of the next intervals, in each of which *changed* keys are incremented.

        An interval begins while the sidecar sleeps, half an interval after a request, so that a cycle may
        take nearly half an interval.
        """
        seen = self.receiver.requests
        held.count(1)
        self.receiver.wait(lambda: self.receiver.requests > seen)
        time.sleep(self.interval_s / 2)
        begun, before, sent = time.monotonic(), process_cpu_s(self.pid), self.receiver.bytes
        taken = []
        for number in range(1, count + 1):
            held.count(changed)
            time.sleep(max(0.0, begun + number * self.interval_s - time.monotonic()))
            after = process_cpu_s(self.pid)
            taken.append(after - before)
            before = after
        if self.receiver.bytes - sent < count * changed * held.words * _POINT_BYTES:
            raise RuntimeError(f"in {count} cycles points of {changed} keys are missing")
        return Samples(taken)

    def rss_mib(self) -> float:
        """Return its resident memory, MiB."""
        return rss_mib(self.pid)

    def peak_mib(self) -> float:
        """Return its peak resident memory, MiB."""
        return peak_mib(self.pid)


def command(
    receiver: Receiver, state: str, *options: str, program: Sequence[str] = ("sidecar",)
) -> list[str]:
    """Return the command that runs a sidecar; *program* is a Python module and its first arguments."""
    return [
        *(sys.executable, "-m", *program, "run", *options),
        *("--otel-endpoint", receiver.address, "--state-dir", state),
    ]


@contextmanager
def configured(held: Map) -> Iterator[tuple[str, ...]]:
    """Yield the options that make a sidecar read *held*."""
    source = {
        "id": held.info.id,
        "layout": {"key": {"key": "u32"}, "value": {f"field{at}": "u64" for at in range(held.words)}},
        # The limit is in data points.
        "series_limit": held.entries * held.words,
    }
    with directory() as place:
        config = Path(place) / "bench.yaml"
        config.write_text(json.dumps({"sources": [source]}))
        yield "--config", str(config)


@contextmanager
def directory() -> Iterator[str]:
    """Yield a directory on the project's disk, because a journal in memory would cost nothing."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as made:
        yield made


@contextmanager
def running(
    receiver: Receiver, options: Sequence[str], interval_s: float, program: Sequence[str] = ("sidecar",)
) -> Iterator[Sidecar]:
    """Run a sidecar until the end of the block; its log is discarded unless it fails."""
    with directory() as state:
        log = Path(state) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *command(receiver, f"{state}/state", *options, program=program),
                    *("--interval", str(interval_s)),
                ],
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
            yield Sidecar(process.pid, receiver, interval_s)
        finally:
            process.terminate()
            process.wait()
