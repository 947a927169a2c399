# SPDX-License-Identifier: Apache-2.0
"""
What a counter that went back says of its entry (pure): one rule, for numbers and for arrays of them.

Within one map a counter goes back only if somebody writes to the map, or if it is no counter. An entry was
emptied, or deleted and made again, only if all its counters say so; otherwise those that fell are none, and
say nothing of the others (docs/adr/0007-counters-that-go-back.md).
"""

from collections.abc import Sequence
from operator import ge, lt
from typing import Any

from sidecar.model import Column, Fall

# Narrower ones come to zero by wrapping too often for that to say anything.
_WIDE = 32


class Counters:
    """
    Which cells of an entry are counters, and what they say.

    *now* and *was* are the cells of one entry; where it says so, rows of arrays that have a cell of each of
    many entries do as well.

    Attributes:
        places: The places of the counters among the cells.
        fields: Of each cell of an entry the field that it belongs to.
        halves: Of each cell half its range; of one that is no counter, more than it can hold.

    """

    def __init__(self, columns: Sequence[Column]) -> None:
        """Take the columns of a reading; those that are not monotonic are no counters."""
        each = [column for column in columns for _ in range(column.cells)]
        self.fields = tuple(column.field for column in each)
        self.places = tuple(place for place, column in enumerate(each) if column.monotonic)
        self._bits = tuple(column.bits for column in each)
        self.halves = tuple(1 << (one.bits - 1 if one.monotonic else one.bits) for one in each)

    def may_have_fallen(self, now: tuple[int, ...], was: tuple[int, ...]) -> bool:
        """Return False if no counter fell and the entry was not emptied; quickly, and for nearly all."""
        return any(map(lt, now, was)) or any(map(ge, now, self.halves))

    def fell(self, place: int, now: Any, was: Any) -> Any:
        """
        Return whether a counter fell; arrays do as well.

        That is serial number arithmetic (RFC 1982): a step of less than half the range is growth, also if the
        counter wraps on the way.
        """
        bits = self._bits[place]
        return (now[place] - was[place]) & ((1 << bits) - 1) >= 1 << (bits - 1)

    def was_emptied(self, now: Any, was: Any) -> Any:
        """
        Return whether an entry was emptied, or made again, since it held *was*; arrays do as well.

        It was if all counters that held something fell. It also was if it is all zero and a wide counter held
        something, however much: to come to that by wrapping would be a rare accident.
        """
        lost: Any = False
        kept: Any = False
        wide: Any = False
        for place in self.places:
            held, fell = was[place] != 0, self.fell(place, now, was)
            lost = lost | (held & fell)
            kept = kept | (held > fell)
            if self._bits[place] >= _WIDE:
                wide = wide | held
        filled: Any = False
        for cell in now:
            filled = filled | (cell != 0)
        return (lost > kept) | (wide > filled)


class Resets:
    """
    What went back in the entries of one window.

    Attributes:
        emptied: Keys whose entry was emptied.
        fallen: How many counters fell alone.

    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.emptied: list[bytes] = []
        self.fallen = 0
        self._examples: dict[str, Fall] = {}

    @property
    def falls(self) -> tuple[Fall, ...]:
        """One example of each field that fell alone."""
        return tuple(self._examples.values())

    def fell(self, example: Fall, times: int = 1) -> None:
        """Take note of counters of one field that fell alone."""
        self.fallen += times
        self._examples.setdefault(example.field, example)

    def began(
        self, key: bytes, now: tuple[int, ...], was: tuple[int, ...], counters: Counters
    ) -> tuple[int, ...]:
        """
        Return from where the cells of an entry are counted: from *was*, unless a counter went back.

        Those of an emptied entry are counted from zero, and one that fell alone from what it is now.
        """
        fell = [place for place in counters.places if counters.fell(place, now, was)]
        if not fell and any(now):
            return was
        began = list(was)
        if counters.was_emptied(now, was):
            self.emptied.append(key)
            for place in counters.places:
                began[place] = 0
            return tuple(began)
        for place in fell:
            self.fell(Fall(counters.fields[place], key, was[place], now[place]))
            began[place] = now[place]
        return tuple(began)
