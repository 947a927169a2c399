# SPDX-License-Identifier: Apache-2.0
"""
How much every key of a large map grew, column by column, by numpy (pure).

The same as `percpu` says of one key, and compared with it by tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.columnar import Table
from sidecar.columnar_match import Places, matched
from sidecar.model import Column

U64Array = NDArray[np.uint64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grown:
    """
    What one map's keys counted.

    Attributes:
        rows: For each key what each field counted, modulo 2^64.
        emptied: The keys whose entry was emptied.
        vanished: The keys that are gone.

    """

    rows: U64Array
    emptied: tuple[bytes, ...] = ()
    vanished: tuple[bytes, ...] = ()


def grown(now: Table, before: Table | None, columns: Sequence[Column]) -> Grown:
    """Return what was counted since *before*, of the same columns; a key that is not there began at zero."""
    cells = rows(now, columns)
    if before is None or not len(before):
        return Grown(growth(cells, np.zeros_like(cells), np.zeros(len(now), np.bool_), columns))
    there = matched(now.names, before.names, now.size)
    known = np.ones(len(now), np.bool_) if there is None else there >= 0
    was = rows(before, columns) if there is None else rows(before, columns)[there]
    vanished: set[bytes] = set() if there is None else _missing(before, there)
    emptied = known & was_emptied(cells, was, columns)
    known &= ~emptied
    if not known.all():
        was = np.where(known[:, None], was, np.uint64(0))
    names = tuple(now.key(at) for at in np.flatnonzero(emptied).tolist())
    return Grown(growth(cells, was, known, columns), names, tuple(vanished))


def rows(table: Table, columns: Sequence[Column]) -> U64Array:
    """Return the cells of a table as a matrix, without copying them."""
    width = sum(column.cells for column in columns)
    return np.frombuffer(table.numbers, np.uint64).reshape(len(table), width)


def _missing(before: Table, there: Places) -> set[bytes]:
    left = np.ones(len(before), np.bool_)
    left[there[there >= 0]] = False
    return {before.key(at) for at in np.flatnonzero(left).tolist()}


def growth(now: U64Array, was: U64Array, known: Mask, columns: Sequence[Column]) -> U64Array:
    """Return how much each field grew, as `percpu.growth` says: *known* tells who was there before."""
    if all(column.bits == 64 for column in columns):
        return now - was
    found = np.empty((len(now), len(columns)), np.uint64)
    at = 0
    for number, column in enumerate(columns):
        into = found[:, number]
        if column.bits == 64:
            np.subtract(now[:, at], was[:, at], out=into)
        else:
            _add_up(now, was, known, column, at, into)
        at += column.cells
    return found


def _add_up(now: U64Array, was: U64Array, known: Mask, column: Column, at: int, into: U64Array) -> None:
    mask, sign = np.uint64((1 << column.bits) - 1), np.uint64(1 << (column.bits - 1))
    into[:] = 0
    for place in range(at, at + column.cells):
        step = (now[:, place] - was[:, place]) & mask
        if column.signed or not column.monotonic:
            extended = (step ^ sign) - sign
            step = extended if column.signed else np.where(known, extended, step)
        into += step


def values(now: U64Array, columns: Sequence[Column]) -> U64Array:
    """Return what each field of each key holds, as `percpu.values` says."""
    if all(column.bits == 64 for column in columns):
        return now
    return growth(now, np.zeros_like(now), np.zeros(len(now), np.bool_), columns)


def sums(table: Table, columns: Sequence[Column]) -> tuple[int, ...]:
    """Return each field added up over all keys, modulo 2^64."""
    held = values(rows(table, columns), columns)
    return tuple(int(one) for one in held.sum(axis=0, dtype=np.uint64))


def was_emptied(now: U64Array, was: U64Array, columns: Sequence[Column]) -> Mask:
    """Return which entries were emptied since they held *was*, as `percpu.was_emptied` says."""
    places = [column for column in columns for _ in range(column.cells)]
    fell = np.zeros(len(now), np.bool_)
    wide = np.zeros(len(now), np.bool_)
    for at, column in enumerate(places):
        if column.monotonic and column.bits == 64:
            fell |= now[:, at] < was[:, at]
        elif column.monotonic and column.bits >= 32:
            wide |= was[:, at] > 0
    return fell | (wide & ~now.any(axis=1)) if wide.any() else fell
