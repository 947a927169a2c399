# SPDX-License-Identifier: Apache-2.0
"""Time from process start to the first batch at the Collector, compared with `python -c 'import grpc'`."""

import subprocess
import sys
import time
from collections.abc import Iterator

from bench.place import ROOT
from bench.receiver import Receiver
from bench.sidecar_process import command, directory
from bench.table import Goal, Row, Samples, row
from demo.processes import environment
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf

_ROUNDS = 5


def rows() -> Iterator[Row]:
    """Yield the wall time."""
    taken: list[float] = []
    importing: list[float] = []
    with libbpf.load_packet_counter() as program, Receiver() as receiver:
        options = ("--map-id", str(bpf.map_info(program.map_fd).id), "--once")
        for _ in range(_ROUNDS):
            importing.append(_wall_s([sys.executable, "-c", "import grpc"]))
            with directory() as state:
                begun = time.monotonic()
                _wall_s(command(receiver, state, *options))
                taken.append(receiver.last_at - begun)
    goal, beside = Goal("value", 1), "python -c 'import grpc'"
    yield row("start to the first batch", Samples(taken), "s wall", beside, Samples(importing), goal)


def _wall_s(arguments: list[str]) -> float:
    begun = time.monotonic()
    subprocess.run(arguments, cwd=ROOT, env=environment(), check=True, capture_output=True)
    return time.monotonic() - begun
