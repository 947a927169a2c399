# SPDX-License-Identifier: Apache-2.0
"""The factor between what a map counts and the unit of a metric (pure)."""

import math
import re
from typing import Any, NamedTuple

_NUMBER = re.compile(
    r"\+?(?P<whole>[0-9]{0,20})(\.(?P<fraction>[0-9]{0,20}))?([eE](?P<exponent>[-+]?[0-9]{1,2}))?"
)


class Scale(NamedTuple):
    """
    A positive factor, as a fraction in lowest terms: 1e-9 is 1 of 10^9.

    Dividing by 10^9 rounds once, where multiplying by the nearest float to 1e-9 would round twice.
    """

    factor: int
    divisor: int

    @classmethod
    def of(cls, text: str) -> "Scale | None":
        """Return the scale that a decimal number means; None if it is none, or not positive and finite."""
        match = _NUMBER.fullmatch(text)
        if not match or not (match["whole"] or match["fraction"]):
            return None
        fraction = match["fraction"] or ""
        exponent = int(match["exponent"] or 0) - len(fraction)
        factor, divisor = int((match["whole"] or "") + fraction), 1
        if exponent < 0:
            divisor = 10**-exponent
        else:
            factor *= 10**exponent
        if not factor:
            return None
        common = math.gcd(factor, divisor)
        return cls(factor // common, divisor // common)

    def __call__(self, number: Any) -> Any:
        """Return a number in the unit of the metric, a float; given an array of floats, an array."""
        return number * float(self.factor) / float(self.divisor)
