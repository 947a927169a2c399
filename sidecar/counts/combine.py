# SPDX-License-Identifier: Apache-2.0
"""
Make one value of several, of CPUs or of keys that share a series: sum, max, min or last (pure).

For all but the sum, one of the values is taken: that with the greatest rank (or the least, for `min`), of
those with the same rank the one that comes later. The rank is the value itself, or for `last` another field.
"""

from collections.abc import Mapping, Sequence

from sidecar.model import Field
from sidecar.u64 import U64, signed


def over_cpus(field: Field, numbers: Sequence[int], ranks: Sequence[int], used: Sequence[int]) -> int:
    """
    Return the value of a field that is not summed over the CPUs, 0 if none has one.

    Args:
        field: The field.
        numbers: What it holds on each CPU.
        ranks: The rank of each, comparable.
        used: Which CPUs have ever written their copy: one that is all zero was not.

    """
    if not used:
        return 0
    sign = -1 if field.aggregate == "min" else 1
    return numbers[max(used, key=lambda at: (sign * ranks[at], at))]


class BySeries:
    """The values of series whose keys are combined, number by number."""

    def __init__(self, numbers: Sequence[Field]) -> None:
        """Take the numbers of a series."""
        index = {number.name: at for at, number in enumerate(numbers)}
        self._numbers = numbers
        self._rank = [index[number.order] if number.order else at for at, number in enumerate(numbers)]

    def add(self, held: list[int | None], more: Mapping[int, int]) -> None:
        """Combine what a series holds, None where nothing yet, with another key's numbers, by their index."""
        for at, number in more.items():
            before = held[at]
            if before is None:
                held[at] = number
            elif self._numbers[at].aggregate == "sum":
                held[at] = before + number & U64
            elif self._is_later(at, held, more):
                held[at] = number

    def _is_later(self, at: int, held: Sequence[int | None], more: Mapping[int, int]) -> bool:
        # Whether or not the rank was combined before: then it is at least that of the other key.
        rank = self._rank[at]
        is_signed = self._numbers[rank].signed
        before, now = (
            signed(number or 0) if is_signed else number or 0 for number in (held[rank], more[rank])
        )
        return now <= before if self._numbers[at].aggregate == "min" else now >= before
