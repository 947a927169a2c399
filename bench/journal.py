# SPDX-License-Identifier: Apache-2.0
"""The durable write of a cycle, compared with the disk's floor: writing and flushing as many bytes."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.keys import RESOURCE, made, schema, snapshot
from bench.many_keys import KEYS, SHAPES
from bench.measure import Clock, cpu_s, in_turns
from bench.sidecar_process import directory
from bench.table import Row, Samples, row
from sidecar.counts import delta
from sidecar.model import Temporality
from sidecar.otlp.encode import encode
from sidecar.state import journal_format
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record

_ROUNDS = 41
_ROUNDS_MANY = 7
_FLOOR = "write + fsync in place"
_HOW = "appended to the file by one flushed write"


def rows() -> Iterator[Row]:
    """Yield the time of a commit for one entry of 8 fields, and for 100,000 keys that all changed."""
    size, wall, cpu = _measured(_record(1, 8), _ROUNDS)
    yield row(f"journal: commit of {size:,} bytes", *_pair(wall, "ms wall"), note=_HOW)
    yield row(f"journal: commit of {size:,} bytes", *_pair(cpu, "ms"))
    for shape, words in SHAPES.items():
        name = f"100,000 keys of {shape}, all changed: journal"
        size, wall, cpu = _measured(_record(KEYS, words), _ROUNDS_MANY)
        yield row(f"{name}, commit", *_pair(wall, "ms wall"))
        yield row(f"{name}, commit", *_pair(cpu, "ms"))
        held = KEYS * (4 + 8 * words)
        yield row(f"{name}, size", Samples([size / 1e6]), "MB", "keys and counters of the map", held / 1e6)


def _pair(taken: dict[str, Samples], unit: str) -> tuple[Samples, str, str, Samples]:
    return taken["ours"].per(1e-3), unit, _FLOOR, taken["bare"].per(1e-3)


def _measured(record: Record, rounds: int) -> tuple[int, dict[str, Samples], dict[str, Samples]]:
    """Return the journal's size, and its wall and CPU time in seconds."""
    with directory() as place:
        journal = Journal(Path(place) / "state")
        journal.commit(record)
        data = b"".join(journal_format.encode(record))
        fd = os.open(Path(place) / "bare", os.O_CREAT | os.O_WRONLY)
        functions: dict[str, Callable[[], object]] = {
            "ours": lambda: journal.commit(record),
            "bare": lambda: _bare(fd, data),
        }
        clocks: tuple[Clock, ...] = (time.perf_counter, cpu_s)
        wall, cpu = (in_turns(functions, rounds, clock) for clock in clocks)
        journal.close()
        os.close(fd)
    return len(data), wall, cpu


def _bare(fd: int, data: bytes) -> None:
    os.pwrite(fd, data, 0)
    os.fsync(fd)


def _record(keys: int, words: int) -> Record:
    """Return the record of a cycle after the first."""
    meaning = schema(words)
    with made(keys, words) as held:
        first = snapshot(held.fd, held.info, meaning, 2)
        known = delta.advance(delta.baseline_from_zero(first), [first], meaning).baseline
        held.count(keys)
        second = snapshot(held.fd, held.info, meaning, 10**18)
    step = delta.advance(known, [second], meaning, include_idle=False)
    requests = encode(RESOURCE, Temporality.DELTA, [(meaning, step.to_export)])
    return Record(2, {"bench": known}, Batch(requests, {"bench": step.baseline}), {"bench": [second]})
