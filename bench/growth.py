# SPDX-License-Identifier: Apache-2.0
"""How the cost grows with series and CPUs: curves for the plot, slopes for the table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from unittest import mock

from bench.keys import Map, Turns, made, schema
from bench.many_keys import floor_s
from bench.measure import bounded, cpu_s, timed
from bench.table import Goal, Row, Samples, exponent, row, slope
from sidecar import bpf_reader
from sidecar.kernel import uapi
from sidecar.model import Temporality

Curve = Sequence[tuple[float, float]]

SERIES = (1, 10, 100, 1000, 10_000, 100_000)
MANY_SERIES = (*SERIES, 1_000_000)
CPUS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
# The first are processed key by key, the second in columns.
KEYS_FOR_CPUS = {"cpus": 1000, "cpus in columns": 10_000}
# Each size takes about as long, and none is measured only once.
_SERIES_IN_ALL = 30_000
_LINEAR = Goal("value", 1.1)


def curves(*, many: bool) -> dict[str, Curve]:
    """Return CPU ms of one turn by number of series, and by number of CPUs."""
    counts = MANY_SERIES if many else SERIES
    curve_by_name: dict[str, Curve] = {
        "series": [(count, _by_series(count).median * 1e3) for count in counts]
    }
    for name, keys in KEYS_FOR_CPUS.items():
        curve_by_name[name] = [(count, _by_cpus(count, keys).median * 1e3) for count in CPUS]
    return curve_by_name


def rows(curve_by_name: Mapping[str, Curve]) -> Iterator[Row]:
    """Yield slopes and exponents."""
    series = curve_by_name["series"]
    yield _row("growth: each further series, all changed", slope(series) * 1e3, "µs")
    yield _exponent("growth: exponent from 100 series to the most", series[2], series[-1])
    yield _exponent("growth: exponent from 10,000 series to the most", series[4], series[-1])
    for name, keys in KEYS_FOR_CPUS.items():
        cpus, of = curve_by_name[name], f"{keys:,} keys"
        yield _row(f"growth: each further CPU, for each key of {of}", slope(cpus) * 1e6 / keys, "ns")
        yield _exponent(f"growth: exponent from 64 CPUs to 512, {of}", cpus[5], cpus[-1])


def many_rows() -> Iterator[Row]:
    """Yield the first turn over a million series, and a steady one next to the floor in C."""
    count = MANY_SERIES[-1]
    with made(count, 1) as held:
        begun = cpu_s()
        turns = Turns(held.fd, held.info, schema(1), Temporality.DELTA_WITH_BASE)
        first = Samples([cpu_s() - begun])
        taken = Samples([_turn_s(held, turns) for _ in range(3)])
        floor = Samples(floor_s(held))
    yield row("a million series of u64: first turn, which reads twice", first, "s", goal=Goal("value", 2.5))
    against, goal = "batch lookups and sums in C", Goal("ratio", 2.5)
    yield row(
        "a million series of u64: turn, all changed, with base points", taken, "s", against, floor, goal
    )


def _row(name: str, value: float, unit: str) -> Row:
    return Row(name, value, unit, note="by least squares")


def _exponent(name: str, first: tuple[float, float], last: tuple[float, float]) -> Row:
    value = exponent(first, last)
    note = "1 is linear"
    return Row(name, value, "", goal=_LINEAR.text(""), met=_LINEAR.met(value, None), note=note)


def _by_series(count: int) -> Samples:
    with made(count, 1) as held:
        turns = Turns(held.fd, held.info, schema(1))
        return Samples([_turn_s(held, turns) for _ in bounded(max(3, min(100, _SERIES_IN_ALL // count)))])


def _turn_s(held: Map, turns: Turns) -> float:
    held.count(held.entries)
    return timed(turns.turn)


def _by_cpus(count: int, keys: int) -> Samples:
    """
    Measure one turn over *keys* keys as on a machine with *count* possible CPUs.

    The kernel only returns values of its own CPUs. A plain hash whose value has the length of that result
    costs the kernel the same copy; the reader treats it as a per-CPU hash.
    """
    with (
        mock.patch.object(bpf_reader, "possible_cpus", return_value=tuple(range(count))),
        made(keys, 1, uapi.MAP_HASH, count) as held,
    ):
        info = replace(held.info, type=uapi.MAP_PERCPU_HASH, value_size=8)
        turns = Turns(held.fd, info, schema(1))
        return Samples([_turn_s(held, turns) for _ in bounded(5)])
