# SPDX-License-Identifier: Apache-2.0
"""One cycle of the default map, one entry of 8 fields, compared with the original demo."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import bpftool, call_alone
from bench.measure import both_s, in_turns
from bench.place import ROOT, lacking
from bench.receiver import Receiver
from bench.sidecar_process import running
from bench.table import Goal, Row, Samples, row
from bench.xdp_program import FRAMES
from demo.bpf_commands import prog_test_run
from demo.processes import environment
from sidecar import bpf_reader
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf
from sidecar.sources import locate

Original = dict[str, list[float]]
"""CPU seconds of its cycles and of their reads, and MiB."""

_CYCLES = 20
_READS = 200
# The first cycles fill caches.
_WARM_UP = 4
_INTERVAL_S = 0.25
_BARE = """
import grpc, opentelemetry.proto.collector.metrics.v1.metrics_service_pb2, os
from bench import call_alone
from bench.measure import rss_mib
print(rss_mib(os.getpid()))
"""


def rows() -> Iterator[Row]:
    """Yield the read, the whole cycle and the memory."""
    with libbpf.load_packet_counter() as program, Receiver() as receiver:
        for frame in FRAMES.values():
            prog_test_run(program.prog_fd, frame, repeat=1000)
        pin = Path("/sys/fs/bpf") / f"bench-{uuid.uuid4().hex[:8]}"
        bpf.obj_pin(program.map_fd, str(pin))
        try:
            yield from _rows(pin, program.map_fd, receiver)
        finally:
            pin.unlink()


def _rows(pin: Path, map_fd: int, receiver: Receiver) -> Iterator[Row]:
    info = bpf.map_info(map_fd)
    schema = locate.schema(SourceSpec(MapRef("pin", str(pin))), info)
    read = in_turns({"read": partial(bpf_reader.read, map_fd, info, schema)}, _READS)["read"]
    why = lacking("bpftool")
    theirs = partial(bpftool.read, info.id)
    reads = in_turns({"read": theirs}, _CYCLES, both_s)["read"] if not why else None
    original = _original(info.id, receiver) if not why else None
    with running(receiver, ("--map-path", str(pin)), _INTERVAL_S) as sidecar:
        sidecar.cycles(_WARM_UP)
        ours, rss = sidecar.cycles(_CYCLES), Samples([sidecar.rss_mib()])
        alone = call_alone.taken(receiver, receiver.last_bytes, _CYCLES, _INTERVAL_S)
    yield _read(read, reads, why)
    yield from _whole(ours, original, why)
    against = "the same bytes sent by gRPC, nothing else"
    yield row("default map: whole cycle", ours.per(1e-3), "ms", against, alone.per(1e-3))
    yield from _memory(rss, original)


def _read(read: Samples, theirs: Samples | None, why: str) -> Row:
    name, goal = "default map: read", Goal("ratio", 100, at_most=False)
    if theirs is None:
        return row(name, read.per(1e-3), "ms", note=why)
    against = "bpftool list and dump, as numbers"
    return row(name, read.per(1e-3), "ms", against, theirs.per(1e-3), goal, cheaper=True)


def _whole(ours: Samples, original: Original | None, why: str) -> Iterator[Row]:
    name, mine = "default map: whole cycle with its durable write", ours.per(1e-3)
    if original is None:
        yield row(name, mine, "ms", note=why)
        return
    whole, read = Samples(original["cycle"]), Samples(original["read"])
    against = "bpftool, SDK and exporter"
    yield row(name, mine, "ms", against, whole.per(1e-3), Goal("ratio", 0.25))
    against = "SDK and exporter alone, without bpftool"
    yield row(name, mine, "ms", against, whole.over(read).per(1e-3))


def _memory(rss: Samples, original: Original | None) -> Iterator[Row]:
    name, goal = "memory of the sidecar", Goal("value", 42)
    theirs = Samples(original["rss_mib"]) if original else None
    yield row(name, rss, "MiB", "the original way's" if theirs else "", theirs, goal)
    done = subprocess.run([sys.executable, "-c", _BARE], cwd=ROOT, check=True, capture_output=True, text=True)
    yield row(name, rss, "MiB", "Python with grpc and the OTLP classes", float(done.stdout))


def _original(map_id: int, receiver: Receiver) -> Original:
    command = [
        sys.executable,
        "-m",
        "bench.original",
        str(map_id),
        receiver.address,
        str(_CYCLES),
        str(_INTERVAL_S),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    result: Original = json.loads(done.stdout)
    return result
