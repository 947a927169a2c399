# SPDX-License-Identifier: Apache-2.0
"""
Decide what a counter that went back means: one rule, for one entry and for arrays of entries (pure).

Within one map a counter decreases only if another process writes to the map, or if it is not a counter. An
entry was emptied, or deleted and recreated, only if all its counters agree; otherwise those that fell are not
counters, and tell nothing about the others (docs/adr/0007-counters-that-go-back.md).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import ge, lt
from typing import Any, NamedTuple

from sidecar.model import Column, Fall

# Narrower counters wrap to zero too often for that to mean anything.
_WIDE = 32


class Start(NamedTuple):
    """
    Where counting starts in an entry; with arrays, in each entry.

    Attributes:
        cells: The cells to subtract from the present ones.
        emptied: Whether the entry was emptied.
        fallen: Whether each counter fell alone, by its index among the cells.

    """

    cells: list[Any]
    emptied: Any
    fallen: dict[int, Any]


class Counters:
    """
    The cells of an entry that are counters, and what they tell when they go back.

    *now* and *was* are the cells of one entry. Where documented, they may also be arrays: a row for each cell
    with a column for each of many entries.

    Attributes:
        indices: The indices of the counters among the cells.
        fields: The field of each cell.
        halves: Half the range of each counter; of any other cell, more than it can hold.

    """

    def __init__(self, columns: Sequence[Column]) -> None:
        """Take the columns of a reading; the monotonic ones are counters."""
        each = [column for column in columns for _ in range(column.cells)]
        self.fields = tuple(column.field for column in each)
        self.indices = tuple(index for index, column in enumerate(each) if column.monotonic)
        self._bits = tuple(column.bits for column in each)
        self.halves = tuple(1 << (cell.bits - 1 if cell.monotonic else cell.bits) for cell in each)

    def may_have_fallen(self, now: tuple[int, ...], was: tuple[int, ...]) -> bool:
        """Return False if no counter fell and the entry was not emptied: a fast filter, not the decision."""
        return any(map(lt, now, was)) or any(map(ge, now, self.halves))

    def has_fallen(self, index: int, now: Any, was: Any) -> Any:
        """
        Return whether a counter fell; with arrays, an array.

        This is serial number arithmetic (RFC 1982): a step of less than half the range is growth, even if the
        counter wraps on the way.
        """
        bits = self._bits[index]
        return (now[index] - was[index]) & ((1 << bits) - 1) >= 1 << (bits - 1)

    def _was_emptied(self, now: Any, was: Any, fallen: Mapping[int, Any]) -> Any:
        """
        Return whether an entry was emptied, or deleted and made again.

        It was if every counter that held something fell. It also was if it is all zero and a wide counter
        held something, however much: reaching that by wrapping would be a rare accident.
        """
        some_fell: Any = False
        some_stayed: Any = False
        wide_held: Any = False
        for index, fell in fallen.items():
            held = was[index] != 0
            some_fell = some_fell | (held & fell)
            some_stayed = some_stayed | (held & (fell ^ True))
            if self._bits[index] >= _WIDE:
                wide_held = wide_held | held
        is_filled: Any = False
        for cell in now:
            is_filled = is_filled | (cell != 0)
        return (some_fell & (some_stayed ^ True)) | (wide_held & (is_filled ^ True))

    def start(self, now: Any, was: Any) -> Start:
        """
        Return where counting starts; with arrays, in each entry.

        The counters of an emptied entry start at zero, one that fell alone at its present value, and all
        other cells at *was*.
        """
        fallen = {index: self.has_fallen(index, now, was) for index in self.indices}
        emptied = self._was_emptied(now, was, fallen)
        alone = {index: fell & (emptied ^ True) for index, fell in fallen.items()}
        cells = list(was)
        for index, fell in alone.items():
            cells[index] = now[index] * fell + was[index] * ((fell | emptied) ^ True)
        return Start(cells, emptied, alone)


counters_of = lru_cache(maxsize=64)(Counters)
"""The counters of a tuple of columns: the same for all sources of one kind, and in each cycle."""


class Resets:
    """
    The resets of one window.

    Attributes:
        emptied: Keys whose entry was emptied.
        fallen: Number of counters that fell alone.

    """

    def __init__(self) -> None:
        """Begin without any."""
        self.emptied: list[bytes] = []
        self.fallen = 0
        self._examples: dict[str, Fall] = {}

    @property
    def falls(self) -> tuple[Fall, ...]:
        """One example for each field with a counter that fell alone."""
        return tuple(self._examples.values())

    def add_fall(self, example: Fall, times: int = 1) -> None:
        """Record counters of one field that fell alone."""
        self.fallen += times
        self._examples.setdefault(example.field, example)

    def start_of(
        self, key: bytes, now: tuple[int, ...], was: tuple[int, ...], counters: Counters
    ) -> tuple[int, ...]:
        """Return the cells from which one entry counts (`Counters.start`), and record its resets."""
        cells, emptied, fallen = counters.start(now, was)
        if emptied:
            self.emptied.append(key)
        for index, fell in fallen.items():
            if fell:
                self.add_fall(Fall(counters.fields[index], key, was[index], now[index]))
        return tuple(cells)
