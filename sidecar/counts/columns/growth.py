# SPDX-License-Identifier: Apache-2.0
"""The growth of every entry of a large map since its last reading, by numpy (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sidecar.counts.columns.arrays import Mask, Rows, U64Array, cells_of
from sidecar.counts.columns.cells import growth, values
from sidecar.counts.columns.match import find_rows
from sidecar.counts.columns.table import Table
from sidecar.counts.resets import Counters, Resets, counters_of
from sidecar.model import Column, Fall

_HALF = 1 << 63


@dataclass(frozen=True)
class Growth:
    """
    The growth of one map.

    Attributes:
        counts: The count of each field, modulo 2^64: a row for each field, a column for each key.
        vanished: The keys that are no longer there.

    """

    counts: U64Array
    vanished: tuple[bytes, ...] = ()


def growth_since(now: Table, before: Table | None, columns: Sequence[Column], resets: Resets) -> Growth:
    """
    Return the growth since *before*, which has the same columns; a key that is not there started at zero.

    Resets of counters are added to *resets*.
    """
    cells = cells_of(now, columns)
    if before is None or not len(before):
        return Growth(values(cells, columns))
    known, was = np.ones(len(now), np.bool_), cells_of(before, columns)
    vanished: tuple[bytes, ...] = ()
    if now.key_bytes != before.key_bytes:
        rows = find_rows(now.key_bytes, before.key_bytes, now.key_size)
        known, was, vanished = rows >= 0, was[:, rows], _vanished(before, rows)
        if not known.all():
            was[:, ~known] = 0
    counters = counters_of(tuple(columns))
    # Cells of 64 bits are few, and their steps are the growth; of others there are some for each CPU.
    steps = cells - was if all(column.bits == 64 for column in columns) else None
    suspects = np.flatnonzero(known & _suspects(cells, was, steps, counters))
    if len(suspects):
        start = _start_of(now, suspects, cells[:, suspects], was[:, suspects], counters, resets)
        if steps is not None:
            steps[:, suspects] = cells[:, suspects] - start
        else:
            was = was.copy()
            was[:, suspects] = start
    return Growth(growth(cells, was, known, columns) if steps is None else steps, vanished)


def _suspects(now: U64Array, was: U64Array, steps: U64Array | None, counters: Counters) -> Mask:
    """
    Return which entries need a closer look: `Counters.may_have_fallen` of each. *steps* is *now* less *was*.

    A counter that went back took a step of more than half its range, modulo 2^64, unless its 64 bits held
    more than half of that: then any step back is suspect.
    """
    suspect = np.zeros(now.shape[1], np.bool_)
    for index in counters.indices:
        half = counters.halves[index]
        # Cell by cell, since there may be one for each of hundreds of CPUs.
        step = now[index] - was[index] if steps is None else steps[index]
        if step.max(initial=0) >= half:
            suspect |= step >= half
        if half == _HALF and was[index].max(initial=0) >= half:
            suspect |= now[index] < was[index]
    return suspect


def _start_of(
    table: Table, rows: Rows, now: U64Array, was: U64Array, counters: Counters, resets: Resets
) -> U64Array:
    """Return the cells from which the entries in *rows* count: `Resets.start_of` of each."""
    cells, emptied, fallen = counters.start(now, was)
    resets.emptied += [table.key(row) for row in rows[emptied].tolist()]
    for index, fell in fallen.items():
        alone = np.flatnonzero(fell)
        if len(alone):
            first = int(alone[0])
            key = table.key(int(rows[first]))
            example = Fall(counters.fields[index], key, int(was[index, first]), int(now[index, first]))
            resets.add_fall(example, len(alone))
    return np.array(cells)


def _vanished(before: Table, rows: Rows) -> tuple[bytes, ...]:
    is_gone = np.ones(len(before), np.bool_)
    is_gone[rows[rows >= 0]] = False
    return tuple(before.key(row) for row in np.flatnonzero(is_gone).tolist())
