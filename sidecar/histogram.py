# SPDX-License-Identifier: Apache-2.0
"""What the points of a histogram are made of (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.scale import Scale
from sidecar.u64 import U64

IDENTITY = Scale(1, 1)


@dataclass(frozen=True)
class Histogram:
    """
    Which numbers of a series count the buckets of a histogram, and what the buckets are.

    Attributes:
        counts: The numbers, by name, that count each bucket, the lowest bucket first.
        bounds: The inclusive upper bound of each bucket but the last, which has none; in the metric's unit.
        sums: The numbers, by name, whose total is the sum of all observations; empty if it is unknown.
        scale: From the unit of the sum to the metric's.
        first_exponent: In an exponential histogram of scale 0, the power of two at which the first bucket
            that does not count zeros begins (`metrics.proto`, ExponentialHistogramDataPoint, `offset`).
        counts_zeros: Whether the first bucket counts zeros alone.

    """

    counts: tuple[str, ...]
    bounds: tuple[float, ...]
    sums: tuple[str, ...] = ()
    scale: Scale = IDENTITY
    first_exponent: int = 0
    counts_zeros: bool = False


@dataclass(frozen=True)
class Places:
    """
    Where the numbers of a histogram are in a series.

    Attributes:
        counts: The index of each bucket's number.
        sums: The indices of the numbers whose total is the sum.

    """

    counts: tuple[int, ...]
    sums: tuple[int, ...]

    def buckets(self, numbers: Sequence[int]) -> list[int]:
        """Return the count of each bucket."""
        return [numbers[at] for at in self.counts]

    def total(self, numbers: Sequence[int]) -> int:
        """Return the sum of all observations in the map's unit, modulo 2^64."""
        return sum([numbers[at] for at in self.sums]) & U64
