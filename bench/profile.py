# SPDX-License-Identifier: Apache-2.0
"""Where the time of a cycle goes: its parts, in a real sidecar process with notes (`bench.profiled`)."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.keys import made
from bench.many_keys import CHANGED, KEYS, SHAPES
from bench.profiled import BEGUN, BETWEEN, PARTS, WALL, WHOLE
from bench.receiver import Receiver
from bench.sidecar_process import directory, running
from bench.table import number
from bench.whole import interval_s, reading
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf

Profile = Mapping[str, float]
"""CPU ms of a cycle by part, and of all of it; its wall time."""

REST = "the rest"
_CYCLES, _CYCLES_MANY = 20, 3
_INTERVAL_S = 0.25
_SHOWN = ("all changed", "1 % changed")
TOTALS = {
    WHOLE: "**CPU time of the cycle**",
    BETWEEN: "CPU time between two cycles",
    WALL: "wall time of the cycle",
}


def profiles() -> dict[str, Profile]:
    """Return the profile of each case."""
    found = {"default map": _default_map()}
    for shape, words in SHAPES.items():
        for changed, profile in _many_keys(words):
            found[f"100,000 keys of {shape}, {changed}"] = profile
    return found


def render(found: Mapping[str, Profile]) -> str:
    """Return the table in Markdown: a line for each part, a column for each case."""
    lines = ["| part | " + " | ".join(found) + " |", "|---|" + "--:|" * len(found)]
    for part in (*PARTS, REST):
        cells = (f"{number(one[part])} ms, {one[part] / one[WHOLE]:.0%}" for one in found.values())
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    for part, name in TOTALS.items():
        lines.append(f"| {name} | " + " | ".join(f"{number(one[part])} ms" for one in found.values()) + " |")
    return "\n".join(lines)


def summed_up(cycles: Sequence[Mapping[str, float]]) -> Profile:
    """Return the medians of some cycles' parts, ms; what no part has is the rest."""
    found = {part: [one.get(part, 0.0) for one in cycles] for part in (*PARTS, *TOTALS)}
    found[REST] = [one[WHOLE] - sum(one.get(part, 0.0) for part in PARTS) for one in cycles]
    return {part: median(values) * 1e3 for part, values in found.items()}


def _default_map() -> Profile:
    with directory() as place, libbpf.load_packet_counter() as program, Receiver() as receiver:
        file = Path(place) / "profile"
        options = ("--map-id", str(bpf.map_info(program.map_fd).id))
        with running(receiver, options, _INTERVAL_S, ("bench.profiled", str(file))) as sidecar:
            sidecar.cycles(_CYCLES)
            ended = time.monotonic()
        return summed_up(_cycles(file, ended - _CYCLES * _INTERVAL_S, ended))


def _many_keys(words: int) -> Iterator[tuple[str, Profile]]:
    every = interval_s(words)
    ended: dict[str, float] = {}
    with directory() as place, made(KEYS, words) as held:
        file = Path(place) / "profile"
        with reading(held, every, ("bench.profiled", str(file))) as sidecar:
            for changed in _SHOWN:
                sidecar.periods(_CYCLES_MANY, held, CHANGED[changed])
                ended[changed] = time.monotonic()
        for changed, end in ended.items():
            yield changed, summed_up(_cycles(file, end - _CYCLES_MANY * every, end))


def _cycles(file: Path, begin: float, end: float) -> list[dict[str, float]]:
    """Return the cycles that began within a time."""
    cycles = map(json.loads, file.read_text().splitlines())
    return [one for one in cycles if begin <= one[BEGUN] < end]
