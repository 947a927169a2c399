# SPDX-License-Identifier: Apache-2.0
"""One cycle of the default map, one entry of 8 fields, beside the original way."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.measure import command_s, in_turns
from bench.place import ROOT
from bench.receiver import Receiver
from bench.sidecar_process import environment, running
from bench.table import Goal, Row, Samples, row
from bench.xdp_program import FRAMES
from sidecar import bpf_reader, libbpf, locate
from sidecar import bpf_syscall as bpf
from sidecar.describe.spec import Place, SourceSpec

_CYCLES = 20
_READS = 200
_INTERVAL_S = 0.25
_BARE = """
import grpc, opentelemetry.proto.collector.metrics.v1.metrics_service_pb2, os
from bench.measure import rss_mib
print(rss_mib(os.getpid()))
"""


def rows() -> Iterator[Row]:
    """Yield the read, the whole cycle and the memory."""
    with libbpf.load_packet_counter() as program, Receiver() as receiver:
        for frame in FRAMES.values():
            bpf.prog_test_run(program.prog_fd, frame, repeat=1000)
        pin = Path("/sys/fs/bpf") / f"bench-{uuid.uuid4().hex[:8]}"
        bpf.obj_pin(program.map_fd, str(pin))
        try:
            yield from _rows(pin, program.map_fd, receiver)
        finally:
            pin.unlink()


def _rows(pin: Path, map_fd: int, receiver: Receiver) -> Iterator[Row]:
    info = bpf.map_info(map_fd)
    schema = locate.schema(SourceSpec(Place("pin", str(pin))), info)
    read = in_turns({"read": partial(bpf_reader.read, map_fd, info, schema)}, _READS)["read"]
    bpftool = Samples([_bpftool_s(info.id) for _ in range(_CYCLES)])
    original = _original(info.id, receiver)
    with running(receiver, ("--map-path", str(pin)), _INTERVAL_S) as sidecar:
        ours, rss = sidecar.cycles(_CYCLES), Samples([sidecar.rss_mib()])
    limit = Goal("ratio", 100, at_most=False)
    yield row(
        "default map: read",
        read.per(1e-3),
        "ms",
        "bpftool list and dump",
        bpftool.per(1e-3),
        limit,
        cheaper=True,
    )
    yield row(
        "default map: whole cycle, with its durable write",
        ours.per(1e-3),
        "ms",
        "bpftool, SDK and exporter",
        Samples(original["cycle"]).per(1e-3),
        Goal("ratio", 0.25),
    )
    without = Samples([whole - part for whole, part in zip(original["cycle"], original["read"], strict=True)])
    yield row(
        "default map: whole cycle",
        ours.per(1e-3),
        "ms",
        "SDK and exporter alone, without bpftool",
        without.per(1e-3),
    )
    yield row(
        "memory of the sidecar",
        rss,
        "MiB",
        "the original way's",
        Samples(original["rss_mib"]),
        Goal("value", 42),
    )
    bare = subprocess.run([sys.executable, "-c", _BARE], cwd=ROOT, check=True, capture_output=True, text=True)
    yield row(
        "memory of the sidecar", rss, "MiB", "Python with grpc and the OTLP classes", float(bare.stdout)
    )


def _bpftool_s(map_id: int) -> float:
    return command_s("bpftool", "-j", "map", "list") + command_s(
        "bpftool", "-j", "map", "dump", "id", str(map_id)
    )


def _original(map_id: int, receiver: Receiver) -> dict[str, list[float]]:
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
    result: dict[str, list[float]] = json.loads(done.stdout)
    return result
