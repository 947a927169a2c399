# SPDX-License-Identifier: Apache-2.0
"""
The kinds of metric, one object each (pure).

All that depends on the kind is decided here: what a data point holds, its type in OTLP and in Prometheus, and
what the kind requires of its field.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from sidecar.errors import SourceError
from sidecar.model import Field, Series
from sidecar.u64 import LARGEST_COUNT, signed


@dataclass(frozen=True, eq=False)
class Kind:
    """
    A kind of metric.

    Attributes:
        word: Its name in a configuration file.
        read: From a series and the index of a field to the value at the end of the window: an integer modulo
            2^64, or a float. Given a `SeriesTable`, it returns the values of all series as an array.
        is_sum: Whether its points count what happened in a window, so an idle series may be omitted.
            Otherwise it is a gauge, whose last point holds until the next one.
        is_monotonic: Whether it never decreases: `is_monotonic` in OTLP, `counter` in Prometheus.
        counts_up: Whether its field only grows, so that a fall is a wrap or a reset.
        needs_values: Whether it exports what the field holds at the end of the window.
        is_double: Whether its points are floats.
        is_histogram: Whether its points count in buckets.
        signed: Whether its integers are in two's complement; None: as its field is.

    """

    word: str
    read: Callable[[Any, int], Any]
    is_sum: bool = False
    is_monotonic: bool = False
    counts_up: bool = False
    needs_values: bool = False
    is_double: bool = False
    is_histogram: bool = False
    signed: bool | None = False

    COUNTER: ClassVar["Kind"]
    UPDOWNCOUNTER: ClassVar["Kind"]
    GAUGE: ClassVar["Kind"]
    RATE: ClassVar["Kind"]
    HISTOGRAM: ClassVar["Kind"]
    EXPONENTIAL: ClassVar["Kind"]

    def __repr__(self) -> str:
        return f"Kind.{self.word.upper()}"

    @property
    def prometheus_type(self) -> str:
        """The type in Prometheus' text format."""
        if self.is_histogram:
            return "histogram"
        return "counter" if self.is_monotonic else "gauge"

    def is_signed(self, field: Field) -> bool:
        """Return whether its integers are in two's complement when they come from *field*."""
        return field.signed if self.signed is None else self.signed

    def value(self, series: Series, at: int, field: Field) -> float:
        """Return the value of *field*, the series' field number *at*, at the end of the window."""
        value: float = self.read(series, at)
        return signed(int(value)) if self.is_signed(field) else value

    def check(self, value: float, field: Field) -> None:
        """Raise SourceError if no data point can carry *value* (`metrics.proto`, `as_int`, sfixed64)."""
        if value > LARGEST_COUNT and not self.is_double and not self.is_signed(field):
            raise SourceError(
                f"encode field {field.name}",
                f"{value} exceeds 2^63-1, the largest integer in OTLP, so it is no count, or was decremented",
                "list the other fields under `metrics:` in a configuration file, or make it an updowncounter",
            )


def _total(series: Any, at: int) -> Any:
    return series.totals[at]


def _value(series: Any, at: int) -> Any:
    return series.values[at]


def _rate(series: Any, at: int) -> Any:
    return series.rate(at)


Kind.COUNTER = Kind("counter", _total, is_sum=True, is_monotonic=True, counts_up=True)
# In two's complement even for an unsigned field: one CPU may decrement what another incremented.
Kind.UPDOWNCOUNTER = Kind("updowncounter", _total, is_sum=True, signed=True)
Kind.GAUGE = Kind("gauge", _value, needs_values=True, signed=None)
# The mean growth over the window, per second.
Kind.RATE = Kind("rate", _rate, counts_up=True, is_double=True)
Kind.HISTOGRAM = Kind("histogram", _total, is_sum=True, is_monotonic=True, counts_up=True, is_histogram=True)
# The same in a configuration file; an ExponentialHistogram in OTLP, which Prometheus stores as native.
Kind.EXPONENTIAL = Kind(
    "histogram", _total, is_sum=True, is_monotonic=True, counts_up=True, is_histogram=True
)

KINDS = {
    kind.word: kind for kind in (Kind.COUNTER, Kind.UPDOWNCOUNTER, Kind.GAUGE, Kind.RATE, Kind.HISTOGRAM)
}
"""All kinds by their names in a configuration file."""
