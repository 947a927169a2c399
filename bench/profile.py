# SPDX-License-Identifier: Apache-2.0
"""The time of a cycle by its parts, in a real, instrumented sidecar process (`bench.profiled`)."""

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
"""CPU ms of a cycle by part and in total; its wall time."""

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
    cases = {"default map": _default_map()}
    for shape, words in SHAPES.items():
        for changed, profile in _many_keys(words):
            cases[f"100,000 keys of {shape}, {changed}"] = profile
    return cases


def render(cases: Mapping[str, Profile]) -> str:
    """Return the table in Markdown: a row per part, a column per case."""
    lines = ["| part | " + " | ".join(cases) + " |", "|---|" + "--:|" * len(cases)]
    for part in (*PARTS, REST):
        cells = (f"{number(case[part])} ms, {case[part] / case[WHOLE]:.0%}" for case in cases.values())
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    for part, name in TOTALS.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{number(case[part])} ms" for case in cases.values()) + " |"
        )
    return "\n".join(lines)


def summed_up(cycles: Sequence[Mapping[str, float]]) -> Profile:
    """Return the median of each part over the cycles, ms; time in no part is the rest."""
    taken = {part: [cycle.get(part, 0.0) for cycle in cycles] for part in (*PARTS, *TOTALS)}
    taken[REST] = [cycle[WHOLE] - sum(cycle.get(part, 0.0) for part in PARTS) for cycle in cycles]
    return {part: median(values) * 1e3 for part, values in taken.items()}


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
    """Return the cycles that began in [begin, end)."""
    cycles = map(json.loads, file.read_text().splitlines())
    return [cycle for cycle in cycles if begin <= cycle[BEGUN] < end]
