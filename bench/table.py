# SPDX-License-Identifier: Apache-2.0
"""The table of figures and its arithmetic (pure)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from statistics import median, quantiles
from typing import Any, Literal


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of the same quantity, in order."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float, float]:
        """The minimum, and the first and third quartile."""
        if len(self.values) < 2:
            return (self.values[0],) * 3
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return min(self.values), low, high

    def over(self, other: "Samples") -> "Samples":
        """Return the difference of each sample to that of *other* from the same round."""
        return Samples([mine - its for mine, its in zip(self.values, other.values, strict=True)])

    def per(self, count: float) -> "Samples":
        """Return each sample divided by a number."""
        return Samples([value / count for value in self.values])


@dataclass(frozen=True)
class Goal:
    """A bound, upper or lower, for a row's value or for its ratio to the reference."""

    of: Literal["value", "ratio"]
    limit: float
    at_most: bool = True

    def met(self, value: float, ratio: float | None) -> bool | None:
        """Return whether the goal is met; None without a measurement."""
        measured = value if self.of == "value" else ratio
        if measured is None:
            return None
        return measured <= self.limit if self.at_most else measured >= self.limit

    def text(self, unit: str) -> str:
        """Return the goal as text."""
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {number(self.limit)} {unit if self.of == 'value' else 'x'}"


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    Attributes:
        name: What was measured.
        value: The median; None: not measured.
        unit: Of value, reference and spread.
        against: The reference.
        reference: Its median.
        spread: Least, first and third quartile of the value.
        ratio: Value to reference, or the inverse for "times cheaper".
        goal: As text.
        met: Whether the goal is met; None without a goal or a measurement.
        note: Why it was not measured, or a remark.

    """

    name: str
    value: float | None
    unit: str
    against: str = ""
    reference: float | None = None
    spread: tuple[float, float, float] | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row of `results.json`."""
        return asdict(self)


def row(
    name: str,
    samples: Samples,
    unit: str,
    against: str = "",
    reference: Samples | float | None = None,
    goal: Goal | None = None,
    *,
    cheaper: bool = False,
    note: str = "",
) -> Row:
    """Return the row of some samples; with *cheaper*, the ratio is how many times cheaper they are."""
    value = samples.median
    beside = reference.median if isinstance(reference, Samples) else reference
    ratio = _ratio(beside, value) if cheaper else _ratio(value, beside)
    return Row(
        name=name,
        value=value,
        unit=unit,
        against=against,
        reference=beside,
        spread=samples.spread,
        ratio=ratio,
        goal=goal.text(unit) if goal else "",
        met=goal.met(value, ratio) if goal else None,
        note=note,
    )


def missing(name: str, unit: str, why: str, goal: Goal | None = None) -> Row:
    """Return the row of a failed measurement."""
    return Row(name, None, unit, goal=goal.text(unit) if goal else "", note=f"not measured: {why}")


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of y over x by least squares."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def intercept(points: Sequence[tuple[float, float]]) -> float:
    """Return the value of that line at x = 0."""
    count = len(points)
    return sum(y for _, y in points) / count - slope(points) * sum(x for x, _ in points) / count


def exponent(first: tuple[float, float], last: tuple[float, float]) -> float:
    """Return n for which y grows as x to the power of n between two points: 1 is linear, 2 quadratic."""
    return log(last[1] / first[1]) / log(last[0] / first[0])


def number(value: float | None) -> str:
    """Format a figure with three significant digits, without an exponent."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.6f}"


def render(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| measurement | value | minimum, quartiles | reference | ratio | goal | met |",
        "|---|--:|--:|---|--:|--:|---|",
    ]
    for row in rows:
        if row.value is None:
            lines.append(f"| {row.name} | {row.note} | | | | {row.goal} | |")
            continue
        spread = (
            ", ".join(number(value) for value in row.spread)
            if row.spread and len(set(row.spread)) > 1
            else ""
        )
        beside = f"{row.against}: {number(row.reference)} {row.unit}" if row.reference is not None else ""
        ratio = f"{number(row.ratio)} x" if row.ratio is not None else ""
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        name = f"{row.name} ({row.note})" if row.note else row.name
        value = f"{number(row.value)} {row.unit}"
        lines.append(f"| {name} | {value} | {spread} | {beside} | {ratio} | {row.goal} | {met} |")
    return "\n".join(lines)


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
