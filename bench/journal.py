# SPDX-License-Identifier: Apache-2.0
"""The durable write of a cycle beside the disk's own floor: the same bytes written and flushed."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.keys import RESOURCE, made, schema
from bench.measure import in_turns
from bench.sidecar_process import directory
from bench.table import Row, row
from sidecar import bpf_reader, delta
from sidecar.journal import Journal
from sidecar.model import Batch, MapIdentity, Record, Snapshot, Temporality
from sidecar.otlp_encode import encode

_ROUNDS = 41


def rows() -> Iterator[Row]:
    """Yield the time of a commit of one entry of 8 fields."""
    record = _record()
    with directory() as place:
        journal = Journal(Path(place) / "state")
        size = journal.commit(record)
        fd = os.open(Path(place) / "bare", os.O_CREAT | os.O_WRONLY)
        functions = {"ours": lambda: journal.commit(record), "bare": lambda: _bare(fd, bytes(size))}
        taken = in_turns(functions, _ROUNDS, time.perf_counter)
        journal.close()
        os.close(fd)
    ours, bare = (taken[name].per(1e-3) for name in ("ours", "bare"))
    note = "a new file, renamed: file and directory are flushed"
    yield row(
        f"journal: commit of {size:,} bytes", ours, "ms wall", "write + fsync in place", bare, note=note
    )


def _bare(fd: int, data: bytes) -> None:
    os.pwrite(fd, data, 0)
    os.fsync(fd)


def _record() -> Record:
    meaning = schema(8)
    with made(1, 8) as held:
        reading = bpf_reader.read(held.fd, held.info, meaning)
        identity = MapIdentity("boot", 1, held.info.type, 4, 64, held.info.max_entries)
    snapshot = Snapshot(identity, 1, 3, reading)
    step = delta.advance(delta.since_birth(snapshot), [snapshot], meaning)
    requests = encode(RESOURCE, Temporality.DELTA, [(meaning, step.series)])
    return Record(1, {}, Batch(requests, {"bench": step.baseline}), {"bench": [snapshot]})
