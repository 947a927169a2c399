# SPDX-License-Identifier: Apache-2.0
"""Aggregate the counts of keys into their series, within the limit on series (pure)."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sidecar.model import Attributes, StreamState
from sidecar.schema import OVERFLOW, Schema
from sidecar.u64 import added


class Aggregated(NamedTuple):
    """
    The counts of one window by series.

    Attributes:
        counts: The count of each field, modulo 2^64, of each series that has a key.
        streams: The streams before the window, without the evicted ones.
        overflowed: Number of series beyond the limit.
        forgotten: Number of series evicted.

    """

    counts: Mapping[Attributes, tuple[int, ...]]
    streams: Mapping[Attributes, StreamState]
    overflowed: int = 0
    forgotten: int = 0


def aggregate(
    streams: Mapping[Attributes, StreamState],
    counts_of_keys: Iterable[tuple[Attributes, tuple[int, ...]]],
    schema: Schema,
) -> Aggregated:
    """
    Sum the counts of keys by series; series beyond the limit are aggregated into one overflow series.

    A known series keeps its place as long as it has a key. One without a key is evicted when a new series
    needs its place, the longest idle first; if it returns, it starts again at zero.
    """
    counts: dict[Attributes, tuple[int, ...]] = {}
    for attributes, count in counts_of_keys:
        add_to(counts, attributes, count)
    overflow = (*schema.attributes, OVERFLOW)
    new = [series for series in counts if series not in streams and series != overflow]
    if not new:
        return Aggregated(counts, streams)
    room = capacity(schema) - len(streams.keys() - {overflow})
    forgotten = _longest_idle(streams, counts, len(new) - room) if len(new) > room else []
    rest = new[max(0, room + len(forgotten)) :]
    for attributes in rest:
        add_to(counts, overflow, counts.pop(attributes))
    evicted = set(forgotten)
    kept = {series: state for series, state in streams.items() if series not in evicted}
    return Aggregated(counts, kept, len(rest), len(forgotten))


def capacity(schema: Schema) -> int:
    """Return how many series fit in the limit, which counts each instrument's series; at least one."""
    return max(1, schema.series_limit // max(1, len(schema.instruments)))


def add_to(sums: dict[Attributes, tuple[int, ...]], attributes: Attributes, more: tuple[int, ...]) -> None:
    """Add *more* to the sums of a series, modulo 2^64."""
    before = sums.get(attributes)
    sums[attributes] = added(before, more) if before else more


def _longest_idle(
    streams: Mapping[Attributes, StreamState], present: Mapping[Attributes, object], wanted: int
) -> list[Attributes]:
    idle = [series for series in streams if series not in present and OVERFLOW not in series]
    return sorted(idle, key=lambda series: streams[series].end_ns)[:wanted]
