# SPDX-License-Identifier: Apache-2.0
"""Post what keys counted to the series that they belong to, within a limit (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sidecar.model import Attributes, Fall, Series, StreamState
from sidecar.schema import OVERFLOW, Schema
from sidecar.u64 import added


@dataclass(frozen=True)
class Aggregated:
    """
    What one window brought, by series.

    Attributes:
        counts: What each field of each series counted, modulo 2^64; only series that some key belongs to.
        streams: The streams before the window, without those that had to make room.
        overflowed: How many series found no room.
        forgotten: How many had to make room.

    """

    counts: Mapping[Attributes, tuple[int, ...]]
    streams: Mapping[Attributes, StreamState]
    overflowed: int = 0
    forgotten: int = 0


@dataclass(frozen=True)
class WindowResult:
    """
    What one window brought for one source.

    Attributes:
        series: Each series that some key belongs to, also those that counted nothing.
        to_export: Those of them that go out.
        streams: Those that hold once the window is acknowledged.
        emptied: Keys whose counters went backwards within one map: somebody emptied it.
        vanished: Keys that are no longer in the map.
        overflowed: Series that found no room and were added up to one.
        forgotten: Series without a key that had to make room.
        fallen: How many counters fell while others of their entry did not.
        falls: One example of each field that did.
        gone: The series that had a key in the last window and have none now, by their names (`points`); only
            if some instrument is a gauge, which would be served on.

    """

    series: Sequence[Series]
    to_export: Sequence[Series]
    streams: Mapping[Attributes, StreamState]
    emptied: tuple[bytes, ...] = ()
    vanished: tuple[bytes, ...] = ()
    overflowed: int = 0
    forgotten: int = 0
    fallen: int = 0
    falls: tuple[Fall, ...] = ()
    gone: tuple[bytes, ...] = ()


def post(
    streams: Mapping[Attributes, StreamState],
    grown: Iterable[tuple[Attributes, tuple[int, ...]]],
    schema: Schema,
) -> Aggregated:
    """
    Add up what was counted by series; those that find no room are added up to one that says so.

    A series with an account keeps it as long as keys belong to it. One without any makes room when a new
    series needs it, the longest idle first; should it come back, it starts again at zero.
    """
    counts: dict[Attributes, tuple[int, ...]] = {}
    for attributes, grew in grown:
        add_to(counts, attributes, grew)
    overflow = (*schema.attributes, OVERFLOW)
    new = [one for one in counts if one not in streams and one != overflow]
    if not new:
        return Aggregated(counts, streams)
    limit = max(1, schema.series_limit // max(1, len(schema.instruments)))
    room = limit - len(streams.keys() - {overflow})
    forgotten = _longest_idle(streams, counts, len(new) - room) if len(new) > room else []
    rest = new[max(0, room + len(forgotten)) :]
    for attributes in rest:
        add_to(counts, overflow, counts.pop(attributes))
    gone = set(forgotten)
    kept = {one: account for one, account in streams.items() if one not in gone}
    return Aggregated(counts, kept, len(rest), len(forgotten))


def add_to(sums: dict[Attributes, tuple[int, ...]], attributes: Attributes, more: tuple[int, ...]) -> None:
    """Add *more* to the sums of a series, modulo 2^64."""
    before = sums.get(attributes)
    sums[attributes] = added(before, more) if before else more


def _longest_idle(
    streams: Mapping[Attributes, StreamState], present: Mapping[Attributes, object], wanted: int
) -> list[Attributes]:
    idle = [one for one in streams if one not in present and OVERFLOW not in one]
    return sorted(idle, key=lambda one: streams[one].end_ns)[:wanted]
