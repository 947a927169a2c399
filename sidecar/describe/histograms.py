# SPDX-License-Identifier: Apache-2.0
"""From the buckets that the user writes to the histogram of an instrument (pure)."""

from collections.abc import Sequence

from sidecar.describe.entry_error import entry_error
from sidecar.describe.shape import Part, part_called
from sidecar.describe.spec import BucketsSpec, MetricSpec
from sidecar.errors import SidecarError
from sidecar.histogram import IDENTITY, Histogram
from sidecar.kinds import Kind

# As many as a u64 needs.
_POWERS = {"log2": 64, "log2_zero": 65, "exp2": 65, "exp2_zero": 66}


def elements_of(parts: Sequence[Part], metric: MetricSpec) -> list[Part]:
    """Return the elements of the array that counts a histogram's buckets; raise ConfigError if it is none."""
    elements: list[Part] = []
    while element := part_called(parts, f"{metric.field}.{len(elements)}"):
        elements.append(element)
    if not elements:
        raise _refuse(
            metric,
            f"field {metric.field} is no array of numbers",
            "name the array that counts the buckets; or, if the key has the number of the bucket, write "
            "`bucket:` with that part of the key",
        )
    return elements


def is_bucket(metric: MetricSpec) -> bool:
    """Return whether the sum is in a bucket of its own, told by its number."""
    return isinstance(metric.sum, int)


def slots_of(metric: MetricSpec, entries: int) -> int:
    """
    Return how many buckets the key tells apart, without that of the sum.

    A bucket beyond the last counts in the last one, which has no upper bound.

    Args:
        metric: A histogram whose `bucket` is a part of the key.
        entries: How many values that part can have, if it is the index of an array; 0: any number.

    Raises:
        ConfigError: It is unknown, or there is no room for the sum.

    """
    buckets = _buckets(metric)
    by_bounds = len(buckets.bounds) + 1 if buckets.form == "bounds" else 0
    by_form = _POWERS.get(buckets.form, 0)
    by_sum = metric.sum if isinstance(metric.sum, int) else 0
    if by_bounds and metric.slots not in (0, by_bounds):
        raise _refuse(metric, f"{len(buckets.bounds)} bounds make {by_bounds} buckets", "leave `slots` out")
    slots = metric.slots or by_bounds or min(filter(None, (by_sum, entries, by_form)), default=0)
    if is_bucket(metric) and by_sum < slots:
        raise _refuse(
            metric,
            f"bucket {by_sum} is the sum, but the buckets are 0 to {slots - 1}",
            "write as `sum` the number of the bucket that holds the sum, above all others",
        )
    if slots < 2:
        raise _refuse(metric, "the number of buckets is unknown", "write it: `slots: 20`")
    return slots


def array_slots(metric: MetricSpec, elements: int) -> int:
    """Return how many elements of an array count buckets; raise ConfigError if the buckets do not fit it."""
    slots = elements
    if isinstance(metric.sum, int):
        slots -= 1
        if metric.sum != slots:
            cause = f"element {metric.sum} is not the last of {elements}"
            raise _refuse(metric, cause, f"write `sum: {slots}` if the last one holds the sum")
    if metric.slots not in (0, slots):
        raise _refuse(metric, f"field {metric.field} has {slots} buckets", "leave `slots` out")
    bounds = len(_buckets(metric).bounds)
    if _buckets(metric).form == "bounds" and bounds != slots - 1:
        raise _refuse(
            metric,
            f"{bounds} bounds make {bounds + 1} buckets, and {metric.field} has {slots}",
            f"write {slots - 1} upper bounds: the last bucket has none",
        )
    if slots < 2:
        raise _refuse(metric, f"field {metric.field} has one bucket", "make it a counter")
    return slots


def build_histogram(metric: MetricSpec, counts: Sequence[str], sums: Sequence[str]) -> Histogram:
    """
    Return the histogram of a metric.

    Args:
        metric: The metric.
        counts: The numbers that count each bucket, by name.
        sums: The numbers whose total is the sum, by name.

    Raises:
        ConfigError: An exponential histogram has other bounds than the powers of two.

    """
    buckets, scale = _buckets(metric), metric.scale or IDENTITY
    if metric.kind is Kind.EXPONENTIAL and (buckets.form not in _POWERS or metric.scale):
        cause = f"an exponential histogram ends its buckets at powers of 2, not {buckets.form}"
        if metric.scale:
            cause = "the buckets of an exponential histogram end at powers of 2, which a scale would move"
        raise _refuse(metric, cause, "write `as: explicit`, which Prometheus can store as native as well")
    upper = [_upper(buckets, slot) for slot in range(len(counts) - 1)]
    return Histogram(
        counts=tuple(counts),
        bounds=tuple(upper if metric.scale is None else [scale(bound) for bound in upper]),
        sums=tuple(sums),
        scale=scale,
        first_exponent=-1 if buckets.form.startswith("exp2") else 0,
        counts_zeros=buckets.form.endswith("_zero"),
    )


def _upper(buckets: BucketsSpec, slot: int) -> float:
    """Return the largest number that a bucket counts: what a map counts are integers."""
    if buckets.form == "linear":
        return float(buckets.start + (slot + 1) * buckets.width - 1)
    if buckets.form == "bounds":
        return buckets.bounds[slot]
    if buckets.form.endswith("_zero"):
        slot -= 1
    if slot < 0:
        return 0.0
    return float(1 << slot) if buckets.form.startswith("exp2") else float((2 << slot) - 1)


def _buckets(metric: MetricSpec) -> BucketsSpec:
    assert metric.buckets is not None  # noqa: S101  # the file refuses a histogram without them
    return metric.buckets


def _refuse(metric: MetricSpec, cause: str, remedy: str) -> SidecarError:
    return entry_error(metric.at, f"metric {metric.name!r}", cause, remedy)
