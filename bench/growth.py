# SPDX-License-Identifier: Apache-2.0
"""How cost grows with series and with CPUs: curves for the plot, and their slopes for the table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from unittest import mock

from bench.keys import Map, Turns, made, schema
from bench.measure import bounded, timed
from bench.table import Goal, Row, Samples, exponent, slope
from sidecar import bpf_reader
from sidecar.kernel import uapi

Curve = Sequence[tuple[float, float]]

SERIES = (1, 10, 100, 1000, 10_000, 100_000)
MANY_SERIES = (*SERIES, 1_000_000)
CPUS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
# The first are read key by key, the second in columns.
KEYS_FOR_CPUS = {"cpus": 1000, "cpus in columns": 10_000}
# So that each size takes about as long, and none is measured once only.
_SERIES_IN_ALL = 30_000
_LINEAR = Goal("value", 1.1)


def curves(*, many: bool) -> dict[str, Curve]:
    """Return CPU ms of one turn by the number of series, and by that of CPUs."""
    counts = MANY_SERIES if many else SERIES
    found: dict[str, Curve] = {"series": [(one, _by_series(one).median * 1e3) for one in counts]}
    for name, keys in KEYS_FOR_CPUS.items():
        found[name] = [(count, _by_cpus(count, keys).median * 1e3) for count in CPUS]
    return found


def rows(found: Mapping[str, Curve]) -> Iterator[Row]:
    """Yield slopes and exponents."""
    series = found["series"]
    yield _row("growth: each further series, all changed", slope(series) * 1e3, "µs")
    yield _exponent("growth: exponent from 100 series to the most", series[2], series[-1])
    yield _exponent("growth: exponent from 10,000 series to the most", series[4], series[-1])
    for name, keys in KEYS_FOR_CPUS.items():
        cpus, of = found[name], f"{keys:,} keys"
        yield _row(f"growth: each further CPU, for each key of {of}", slope(cpus) * 1e6 / keys, "ns")
        yield _exponent(f"growth: exponent from 64 CPUs to 512, {of}", cpus[5], cpus[-1])


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
    Measure one turn over some keys as on a machine of *count* possible CPUs.

    The kernel answers for the CPUs that there are. A plain hash whose value is as long as the answer would be
    costs the kernel the same copy; the reader is told that it is a per-CPU hash.
    """
    with (
        mock.patch.object(bpf_reader, "possible_cpus", return_value=tuple(range(count))),
        made(keys, 1, uapi.MAP_HASH, count) as held,
    ):
        info = replace(held.info, type=uapi.MAP_PERCPU_HASH, value_size=8)
        turns = Turns(held.fd, info, schema(1))
        return Samples([_turn_s(held, turns) for _ in bounded(5)])
