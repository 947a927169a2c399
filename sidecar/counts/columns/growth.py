# SPDX-License-Identifier: Apache-2.0
"""
How much every key of a large map grew, column by column, by numpy (pure).

The same as `percpu` says of one key, and compared with it by tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.columns.match import Places, matched
from sidecar.counts.columns.table import Table
from sidecar.counts.resets import Counters, Resets
from sidecar.model import Column, Fall

U64Array = NDArray[np.uint64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grown:
    """
    What one map's keys counted.

    Attributes:
        counts: Of each field, what it counted for each key, modulo 2^64.
        vanished: The keys that are gone.

    """

    counts: U64Array
    vanished: tuple[bytes, ...] = ()


def grown(now: Table, before: Table | None, columns: Sequence[Column], resets: Resets) -> Grown:
    """
    Return what was counted since *before*, of the same columns; a key that is not there began at zero.

    What went back is added to *resets*.
    """
    cells = cells_of(now, columns)
    if before is None or not len(before):
        return Grown(values(cells, columns))
    known, was = np.ones(len(now), np.bool_), cells_of(before, columns)
    vanished: tuple[bytes, ...] = ()
    if now.names != before.names:
        there = matched(now.names, before.names, now.size)
        known, was, vanished = there >= 0, was[:, there], _missing(before, there)
        if not known.all():
            was = np.where(known, was, np.uint64(0))
    counters = Counters(columns)
    back = np.flatnonzero(known & _may_have_fallen(cells, was, counters))
    if len(back):
        was = was.copy()
        was[:, back] = _began(now, back, was[:, back], counters, resets)
    return Grown(growth(cells, was, known, columns), vanished)


def _may_have_fallen(now: U64Array, was: U64Array, counters: Counters) -> Mask:
    """Return which entries are worth a closer look, as `Counters.may_have_fallen` does of one."""
    found = np.zeros(now.shape[1], np.bool_)
    for place in counters.places:
        found |= now[place] < was[place]
        if now[place].max(initial=0) >= counters.halves[place]:
            found |= counters.fell(place, now, was)
    return found


def _began(table: Table, rows: Places, was: U64Array, counters: Counters, resets: Resets) -> U64Array:
    """Return from where the cells of some entries are counted, as `Resets.began` says of one."""
    now = np.frombuffer(table.numbers, np.uint64).reshape(len(was), len(table))[:, rows]
    emptied = counters.was_emptied(now, was)
    resets.emptied += [table.key(at) for at in rows[emptied].tolist()]
    began = was.copy()
    for place in counters.places:
        began[place, emptied] = 0
        alone = np.flatnonzero(counters.fell(place, now, was) & ~emptied)
        began[place, alone] = now[place, alone]
        if len(alone):
            first = alone[0]
            key = table.key(int(rows[first]))
            example = Fall(counters.fields[place], key, int(was[place, first]), int(now[place, first]))
            resets.fell(example, len(alone))
    return began


def cells_of(table: Table, columns: Sequence[Column]) -> U64Array:
    """Return the cells of a table, a column in each row, without copying them."""
    width = sum(column.cells for column in columns)
    return np.frombuffer(table.numbers, np.uint64).reshape(width, len(table))


def _missing(before: Table, there: Places) -> tuple[bytes, ...]:
    left = np.ones(len(before), np.bool_)
    left[there[there >= 0]] = False
    return tuple(before.key(at) for at in np.flatnonzero(left).tolist())


def growth(now: U64Array, was: U64Array, known: Mask, columns: Sequence[Column]) -> U64Array:
    """Return how much each field grew, as `percpu.growth` says: *known* tells who was there before."""
    if all(column.bits == 64 for column in columns):
        return now - was
    found = np.empty((len(columns), now.shape[1]), np.uint64)
    at = 0
    for column, into in zip(columns, found, strict=True):
        cells = slice(at, at + column.cells)
        _add_up(now[cells], was[cells], known, column, into)
        at += column.cells
    return found


def _add_up(now: U64Array, was: U64Array, known: Mask, column: Column, into: U64Array) -> None:
    steps = now - was
    if column.bits < 64:
        steps &= np.uint64((1 << column.bits) - 1)
        sign = np.uint64(1 << (column.bits - 1))
        if column.signed:
            steps = (steps ^ sign) - sign
        elif not column.monotonic:
            steps = np.where(known, (steps ^ sign) - sign, steps)
    np.add.reduce(steps, axis=0, out=into)


def values(now: U64Array, columns: Sequence[Column]) -> U64Array:
    """Return what each field of each key holds, as `percpu.values` says."""
    if all(column.bits == 64 for column in columns):
        return now
    return growth(now, np.zeros_like(now), np.zeros(now.shape[1], np.bool_), columns)


def sums(table: Table, columns: Sequence[Column]) -> tuple[int, ...]:
    """Return each field added up over all keys, modulo 2^64."""
    return tuple(int(one) for one in values(cells_of(table, columns), columns).sum(axis=1, dtype=np.uint64))
