# SPDX-License-Identifier: Apache-2.0
"""Whole cycles over 100,000 keys in a real sidecar process, next to ebpf_exporter's scrape of it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import exporter
from bench.keys import Map, made
from bench.many_keys import CHANGED, KEYS, SHAPES
from bench.receiver import Receiver
from bench.sidecar_process import Sidecar, configured, running
from bench.table import Goal, Row, Samples, missing, row

# The exporter's map files: it only supports 8-byte values, so eight counters are eight maps.
_MAPS = {"u64": "u64", "8 u64": "words"}
_SHOWN = ("all changed", "1 % changed", "nothing changed")
_TENTH = Goal("ratio", 10, at_most=False)
_SCRAPE, _GZIP = "scrape", "scrape, gzip"


@dataclass(frozen=True)
class _Taken:
    """CPU ms of cycles and scrapes; our resident and peak MiB, theirs; why theirs are missing."""

    cycles: dict[str, Samples]
    scrapes: dict[str, Samples]
    ours: tuple[float, float]
    theirs: float
    why_not: str


def rows() -> Iterator[Row]:
    """Yield CPU time by shape and share of changed keys, and memory."""
    with made(1, 1) as single, reading(single, 1.0) as sidecar:
        sidecar.periods(3, single, 1)
        small = sidecar.rss_mib()
    program = exporter.binary()
    for shape in SHAPES:
        taken = _measured(shape, program)
        name = f"100,000 keys of {shape}"
        yield from _beside(name, taken)
        if taken.why_not:
            yield missing(f"{name}: ebpf_exporter's scrape", "ms", taken.why_not, _TENTH)
        yield from _memory(shape, taken, small)


@contextmanager
def reading(held: Map, interval_s: float, program: tuple[str, ...] = ("sidecar",)) -> Iterator[Sidecar]:
    """Run a sidecar that reads a map and exports to its own receiver."""
    with (
        Receiver() as receiver,
        configured(held) as options,
        running(receiver, options, interval_s, program) as sidecar,
    ):
        yield sidecar


def interval_s(words: int) -> float:
    """Return an interval long enough to increment all keys and receive the requests in half of it."""
    return 1.0 if words == 1 else 3.0


def _measured(shape: str, program: str | None) -> _Taken:
    """Measure both, on the same map where possible."""
    words = SHAPES[shape]
    why_not = "" if program else "run make ebpf-exporter first, or name one by EBPF_EXPORTER"
    with ExitStack() as stack:
        other = None
        try:
            if program:
                other = stack.enter_context(exporter.running(program, _MAPS[shape], KEYS))
        except exporter.EndedError as error:
            why_not = str(error)
        held = other.maps[0] if other and words == 1 else stack.enter_context(made(KEYS, words))
        with reading(held, interval_s(words)) as sidecar:
            count = 5 if words == 1 else 3
            cycles = {changed: sidecar.periods(count, held, CHANGED[changed]).per(1e-3) for changed in _SHOWN}
            ours = sidecar.rss_mib(), sidecar.peak_mib()
        try:
            scrapes, theirs = _scrapes(other, words) if other else ({}, 0.0)
        except exporter.EndedError as error:
            scrapes, theirs, why_not = {}, 0.0, str(error)
        return _Taken(cycles, scrapes, ours, theirs, why_not)


def _scrapes(other: exporter.Exporter, words: int) -> tuple[dict[str, Samples], float]:
    """Scrape in turns, plain and compressed; an extra first scrape fills its label cache."""
    other.scrape()
    taken: dict[str, list[float]] = {_SCRAPE: [], _GZIP: []} if words == 1 else {_SCRAPE: []}
    for _ in range(5 if words == 1 else 1):
        for name, values in taken.items():
            other.count(KEYS)
            values.append(other.scrape(gzip=name == _GZIP))
    return {name: Samples(values).per(1e-3) for name, values in taken.items()}, other.rss_mib()


def _beside(name: str, taken: _Taken) -> Iterator[Row]:
    theirs = taken.scrapes.get(_SCRAPE)
    against = "ebpf_exporter's scrape, all changed" if theirs else ""
    for changed, ours in taken.cycles.items():
        what = f"{name}: whole cycle with its durable write, {changed}"
        yield row(what, ours, "ms", against, theirs, _TENTH if theirs else None, cheaper=True)
    if _GZIP in taken.scrapes:
        what = f"{name}: ebpf_exporter's scrape, compressed as Prometheus asks"
        yield row(what, taken.scrapes[_GZIP], "ms", "not compressed, as above", theirs)


def _memory(shape: str, taken: _Taken, small: float) -> Iterator[Row]:
    name = f"memory for 100,000 series of {shape}"
    held, peak = taken.ours
    goal = Goal("value", 60) if SHAPES[shape] == 1 else None
    yield row(f"{name}, more than for one", Samples([held - small]), "MiB", "with one series", small, goal)
    yield row(f"{name}, at its peak", Samples([peak]), "MiB", "between cycles", held)
    if taken.theirs:
        theirs = taken.theirs
        yield row(f"{name}, in all", Samples([held]), "MiB", "ebpf_exporter's", theirs, cheaper=True)
