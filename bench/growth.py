# SPDX-License-Identifier: Apache-2.0
"""How cost grows with series and with CPUs: curves for the plot, and their slopes for the table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest import mock

from bench.keys import Turns, made, schema
from bench.measure import in_turns
from bench.table import Goal, Row, Samples, exponent, slope
from sidecar import bpf_reader
from sidecar import bpf_uapi as uapi

Curve = Sequence[tuple[float, float]]

SERIES = (1, 10, 100, 1000, 10_000)
MANY_SERIES = (*SERIES, 100_000, 1_000_000)
CPUS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
_KEYS_FOR_CPUS = 1000
# So that each size takes about as long, and none is measured once only.
_SERIES_IN_ALL = 30_000
_LINEAR = Goal("value", 1.1)


def curves(*, many: bool) -> dict[str, Curve]:
    """Return CPU ms of one turn by the number of series, and by that of CPUs."""
    return {
        "series": [(count, _by_series(count).median * 1e3) for count in (MANY_SERIES if many else SERIES)],
        "cpus": [(count, _by_cpus(count).median * 1e3) for count in CPUS],
    }


def rows(found: dict[str, Curve]) -> Iterator[Row]:
    """Yield slopes and exponents."""
    series, cpus = found["series"], found["cpus"]
    per_series = slope(series)
    yield _row("growth: each further series", per_series * 1e3, "µs")
    yield _exponent("growth: exponent from 100 series to the most", series[2], series[-1])
    per_cpu = slope(cpus)
    yield _row("growth: each further CPU, for each key", per_cpu * 1e6 / _KEYS_FOR_CPUS, "ns")
    yield _exponent("growth: exponent from 64 CPUs to 512", cpus[5], cpus[-1])


def _row(name: str, value: float, unit: str) -> Row:
    return Row(name, value, unit, note="by least squares")


def _exponent(name: str, first: tuple[float, float], last: tuple[float, float]) -> Row:
    value = exponent(first, last)
    note = "1 is linear"
    return Row(name, value, "", goal=_LINEAR.text(""), met=_LINEAR.met(value, None), note=note)


def _by_series(count: int) -> Samples:
    with made(count, 1) as held:
        turns = Turns(held.fd, held.info, schema(1))
        turns.turn()
        held.count(count)
        return in_turns({"turn": turns.turn}, max(3, min(100, _SERIES_IN_ALL // count)))["turn"]


def _by_cpus(count: int) -> Samples:
    """
    Measure one turn over 1000 keys as on a machine of *count* possible CPUs.

    The kernel answers for the CPUs that there are. A plain hash whose value is as long as the answer would be
    costs the kernel the same copy; the reader is told that it is a per-CPU hash.
    """
    with (
        mock.patch.object(bpf_reader, "possible_cpus", return_value=tuple(range(count))),
        made(_KEYS_FOR_CPUS, 1, uapi.MAP_HASH, count) as held,
    ):
        info = replace(held.info, type=uapi.MAP_PERCPU_HASH, value_size=8)
        turns = Turns(held.fd, info, schema(1))
        turns.turn()
        return in_turns({"turn": turns.turn}, 5)["turn"]
