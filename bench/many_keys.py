# SPDX-License-Identifier: Apache-2.0
"""A PERCPU_HASH of 100,000 keys: from the map to the bytes for the wire, beside the floor and others."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.keys import Map, Turns, made, schema
from bench.measure import bounded, command_s, timed
from bench.place import compile_c
from bench.receiver import Receiver
from bench.sidecar_process import directory, running
from bench.table import Goal, Row, Samples, missing, row

KEYS = 100_000
_ROUNDS = 3
_FLOOR_ROUNDS = 7
_SHAPES = {"u64": 1, "8 u64": 8}


def rows() -> Iterator[Row]:
    """Yield CPU time by shape and by how many keys change, and memory."""
    for shape, words in _SHAPES.items():
        with made(KEYS, words) as held:
            yield from _cpu(f"100,000 keys of {shape}", held)
            if words == 1:
                yield _bpftool(held)
                yield _memory(held)
    why = "its module cannot be verified by the Go checksum database here"
    yield missing("100,000 keys of u64: ebpf_exporter's scrape", "ms", why, Goal("ratio", 10, at_most=False))


def _cpu(name: str, held: Map) -> Iterator[Row]:
    turns = Turns(held.fd, held.info, schema(held.words))
    turns.turn()
    # What the sidecar and the floor do in turns; a change of keys is not timed.
    taken: dict[int, list[float]] = {KEYS: [], KEYS // 100: []}
    floor: list[float] = []
    for _ in bounded(_ROUNDS):
        for changed, values in taken.items():
            held.count(changed)
            values.append(timed(turns.turn))
        floor += _floor_s(held)
    whole, some = (Samples(values).per(1e-3) for values in taken.values())
    least = Samples(floor).per(1e-3)
    what = "read + sum + delta + encode"
    goal = Goal("ratio", 3)
    yield row(f"{name}: {what}", whole, "ms", "batch lookups and sums in C", least, goal)
    yield row(f"{name}: {what}, 1 % changed", some, "ms", "the same, all changed", whole)


def _floor_s(held: Map) -> list[float]:
    arguments = (held.fd, held.entries, held.words, held.slots, _FLOOR_ROUNDS)
    command = [str(compile_c("batch_floor.c")), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=[held.fd])
    # The first round finds its memory untouched.
    return [int(line) / 1e9 for line in done.stdout.splitlines()[1:]]


def _bpftool(held: Map) -> Row:
    turns = Turns(held.fd, held.info, schema(held.words))
    ours = Samples([timed(turns.turn) for _ in bounded(_ROUNDS)]).per(1e-3)
    command = ("bpftool", "-j", "map", "dump", "id", str(held.info.id))
    dump = Samples([command_s(*command) for _ in range(_ROUNDS)]).per(1e-3)
    name = "100,000 keys of u64: read + sum + delta + encode, nothing changed"
    return row(name, ours, "ms", "bpftool dump, the text alone", dump, cheaper=True)


def _memory(held: Map) -> Row:
    with made(1, held.words) as one:
        small, large = _rss_mib(one), _rss_mib(held)
    more = Samples([large - small])
    return row("memory for 100,000 series of u64", more, "MiB", "with one series", small, Goal("value", 60))


def _rss_mib(held: Map) -> float:
    source = {
        "id": held.info.id,
        "layout": {"key": {"key": "u32"}, "value": {f"field{at}": "u64" for at in range(held.words)}},
        "series_limit": 2 * KEYS,
    }
    with directory() as place, Receiver() as receiver:
        config = Path(place) / "bench.yaml"
        config.write_text(json.dumps({"sources": [source]}))
        with running(receiver, ("--config", str(config)), 1.0) as sidecar:
            # The third batch is on its way: what is needed at once has been needed.
            sidecar.cycles(1)
            first = receiver.bytes
            receiver.wait(lambda: receiver.bytes > 2 * first)
            return sidecar.rss_mib()
