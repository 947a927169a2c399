# SPDX-License-Identifier: Apache-2.0
"""The durable write of a cycle, compared with the disk's floor: writing and flushing as many bytes."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from bench.keys import RESOURCE, Map, made, schema, snapshot
from bench.many_keys import CHANGED, KEYS, SHAPES
from bench.measure import cpu_s
from bench.sidecar_process import directory
from bench.table import Row, Samples, row
from sidecar.config import DEFAULT_INTERVAL_S
from sidecar.counts import delta
from sidecar.model import Temporality
from sidecar.otlp.encode import encode
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record

_ROUNDS = 41
# Every few records of a large map the file is replaced by a complete one, which costs more.
_ROUNDS_MANY = 14
_SHOWN = ("all changed", "1 % changed")
_FLOOR = "write + fsync in place"
_HOW = "appended to the file by one flushed write"
_COMPLETE = "a complete record"


@dataclass(frozen=True)
class _Taken:
    """Bytes written by each commit, and by the first, complete one; wall and CPU seconds, and the floor's."""

    complete: float
    written: list[float]
    wall: tuple[Samples, Samples]
    cpu: tuple[Samples, Samples]


def rows() -> Iterator[Row]:
    """Yield the time of a commit for one entry of 8 fields, and for 100,000 keys that changed or not."""
    with made(1, 8) as held:
        taken = _measured(held, 1, _ROUNDS)
    name = f"journal: commit of {Samples(taken.written).median:,.0f} bytes"
    yield row(name, *_beside(taken.wall, "ms wall"), note=_HOW)
    yield row(name, *_beside(taken.cpu, "ms"))
    for shape, words in SHAPES.items():
        for changed in _SHOWN:
            with made(KEYS, words) as held:
                taken = _measured(held, CHANGED[changed], _ROUNDS_MANY)
            name = f"100,000 keys of {shape}, {changed}: journal"
            yield row(f"{name}, commit", *_beside(taken.wall, "ms wall"))
            yield row(f"{name}, commit", *_beside(taken.cpu, "ms"))
            complete = taken.complete / 1e6
            yield row(f"{name}, written", Samples(taken.written).per(1e6), "MB", _COMPLETE, complete)
            mean = Samples([sum(taken.written) / len(taken.written)]).per(1e6)
            yield row(f"{name}, written on average", mean, "MB", _COMPLETE, complete)


def _beside(taken: tuple[Samples, Samples], unit: str) -> tuple[Samples, str, str, Samples]:
    ours, bare = taken
    return ours.per(1e-3), unit, _FLOOR, bare.per(1e-3)


def _measured(held: Map, changed: int, rounds: int) -> _Taken:
    """Commit the records of cycles in which *changed* keys are incremented; write as many bytes in turns."""
    records, ours, bare, sizes = _records(held, changed), [], [], []
    with directory() as place:
        journal = Journal(Path(place) / "state")
        fd = os.open(Path(place) / "bare", os.O_CREAT | os.O_WRONLY)
        before = _written()
        journal.commit(next(records))
        complete = _written() - before
        for record in islice(records, rounds):
            before = _written()
            ours.append(_timed(lambda: journal.commit(record)))  # noqa: B023 - called at once
            sizes.append(_written() - before)
            data = bytes(int(sizes[-1]))
            bare.append(_timed(lambda: _bare(fd, data)))  # noqa: B023
        journal.close()
        os.close(fd)
    wall, cpu = ((Samples([t[at] for t in ours]), Samples([t[at] for t in bare])) for at in (0, 1))
    return _Taken(complete, sizes, wall, cpu)


def _timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), cpu_s()
    function()
    return time.perf_counter() - wall, cpu_s() - cpu


def _written() -> float:
    """Return how many bytes this process has written."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("wchar:")))


def _bare(fd: int, data: bytes) -> None:
    os.pwrite(fd, data, 0)
    os.fsync(fd)


def _records(held: Map, changed: int) -> Iterator[Record]:
    """Yield the record of each cycle after the first, which knows all keys."""
    meaning, now_ns = schema(held.words), time.time_ns()
    first = snapshot(held.fd, held.info, meaning, now_ns)
    known = delta.advance(delta.baseline_from_zero(first), [first], meaning).baseline
    for sequence in count(2):
        held.count(changed)
        now_ns += int(DEFAULT_INTERVAL_S * 1e9)
        newest = snapshot(held.fd, held.info, meaning, now_ns)
        step = delta.advance(known, [newest], meaning, include_idle=False)
        requests = encode(RESOURCE, Temporality.DELTA, [(meaning, step.to_export)])
        yield Record(
            sequence, {"bench": known}, Batch(requests, {"bench": step.baseline}), {"bench": [newest]}
        )
        known = step.baseline
