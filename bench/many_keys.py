# SPDX-License-Identifier: Apache-2.0
"""A PERCPU_HASH of 100,000 keys: from the map to the bytes for the wire, next to a loop in C and bpftool."""

import subprocess
from collections.abc import Iterator, Mapping

from bench.keys import Map, Turns, made, schema
from bench.measure import bounded, command_s, timed
from bench.place import compile_c, lacking
from bench.table import Goal, Row, Samples, intercept, missing, row, slope
from sidecar.model import Temporality
from sidecar.schema import Schema

KEYS = 100_000
SHAPES: Mapping[str, int] = {"u64": 1, "8 u64": 8}
CHANGED: Mapping[str, int] = {
    "all changed": KEYS,
    "10 % changed": KEYS // 10,
    "1 % changed": KEYS // 100,
    "nothing changed": 0,
}
_ROUNDS = 7
_FLOOR_ROUNDS = 3
_ALL, _SOME, _NONE = "all changed", "1 % changed", "nothing changed"
_GOAL, _BASE_GOAL, _SOME_GOAL = Goal("ratio", 2.5), Goal("ratio", 3), Goal("ratio", 0.15)
_READ, _FLOOR, _BASE = "read", "floor", "base points"


def rows() -> Iterator[Row]:
    """Yield CPU time by shape and by how many keys changed."""
    for shape, words in SHAPES.items():
        with made(KEYS, words) as held:
            taken = measured(held)
            yield from whole_rows(f"100,000 keys of {shape}", taken)
            yield from _by_changes(f"100,000 keys of {shape}", taken)
            if words == 1:
                yield _bpftool(held, taken[_READ])


def measured(held: Map, meaning: Schema | None = None, rounds: int = _ROUNDS) -> Mapping[str, Samples]:
    """
    Measure everything over one map in turns; incrementing the counters is not timed.

    *meaning* is what its counters are; by default a sum each.
    """
    meaning = meaning or schema(held.words)
    plain = Turns(held.fd, held.info, meaning)
    based = Turns(held.fd, held.info, meaning, Temporality.DELTA_WITH_BASE)
    taken: dict[str, list[float]] = {name: [] for name in (*CHANGED, _READ, _FLOOR, _BASE)}
    for _ in bounded(rounds):
        for name, changed in CHANGED.items():
            held.count(changed)
            taken[name].append(timed(plain.turn))
            if name == _ALL:
                taken[_BASE].append(timed(based.turn))
        taken[_READ].append(timed(plain.read))
        taken[_FLOOR] += floor_s(held)
    return {name: Samples(values).per(1e-3) for name, values in taken.items()}


def whole_rows(name: str, taken: Mapping[str, Samples], goal: Goal | None = _GOAL) -> Iterator[Row]:
    """Yield the time from the map to the bytes, by the share of changed keys."""
    what, floor = f"{name}: read + sum + delta + encode", "batch lookups and sums in C"
    yield row(f"{name}: read + sum", taken[_READ], "ms", floor, taken[_FLOOR])
    yield row(f"{what}, {_ALL}", taken[_ALL], "ms", floor, taken[_FLOOR], goal)
    base_goal = _BASE_GOAL if goal else None
    yield row(f"{what}, {_ALL}, with base points", taken[_BASE], "ms", floor, taken[_FLOOR], base_goal)
    yield row(f"{what}, {_SOME}", taken[_SOME], "ms", "the same, all changed", taken[_ALL])
    yield row(f"{what}, {_NONE}", taken[_NONE], "ms", "the read alone", taken[_READ])


def _by_changes(name: str, taken: Mapping[str, Samples]) -> Iterator[Row]:
    """Yield how the cost beyond the read grows with the changed keys, by differences within each round."""
    beyond = {changed: taken[changed].over(taken[_READ]) for changed in CHANGED}
    what, against = f"{name}: beyond the read, {_SOME}", "beyond the read, all changed"
    yield row(what, beyond[_SOME], "ms", against, beyond[_ALL], _SOME_GOAL)
    points = [(keys, beyond[changed].median) for changed, keys in CHANGED.items()]
    each, still = slope(points) * 1e6, intercept(points) * 1e6 / KEYS
    yield row(
        f"{name}: each key that changed adds, beyond the read",
        Samples([each]),
        "ns",
        "each key that is there",
        still,
        note="by least squares",
    )


def floor_s(held: Map) -> list[float]:
    """Return the CPU seconds of batch lookups and sums in C, the median of several rounds."""
    # The first round touches its memory for the first time.
    arguments = (held.fd, held.entries, held.words, held.slots, 1 + _FLOOR_ROUNDS)
    command = [str(compile_c("batch_floor.c")), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=[held.fd])
    times = sorted(int(line) / 1e9 for line in done.stdout.splitlines()[1:])
    return [times[_FLOOR_ROUNDS // 2]]


def _bpftool(held: Map, ours: Samples) -> Row:
    name, against = "100,000 keys of u64: read + sum", "bpftool dump, the text alone"
    why = lacking("bpftool")
    if why:
        return missing(name, "ms", why)
    command = ("bpftool", "-j", "map", "dump", "id", str(held.info.id))
    dump = Samples([command_s(*command) for _ in range(3)]).per(1e-3)
    return row(name, ours, "ms", against, dump, cheaper=True)
