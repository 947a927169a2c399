# SPDX-License-Identifier: Apache-2.0
"""
Aggregate what the keys of a large map counted into their series: `aggregate`, by numpy (pure).

A series is known by its row in the stream table. Which row a key's series has is remembered there (its
key index), so a key is labelled once in the life of the process, not once a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from sidecar.attributes import encode_attributes
from sidecar.counts.columns.growth import U64Array
from sidecar.counts.columns.match import Places, matched
from sidecar.counts.columns.names import only, places_of
from sidecar.counts.columns.table import EncodedAttributes, KeyIndex, StreamTable, Table
from sidecar.schema import OVERFLOW, Schema

_OVERFLOW_ENCODED = encode_attributes((OVERFLOW,))


@dataclass(frozen=True)
class Aggregated:
    """
    What one window brought, by series.

    Attributes:
        streams: The streams before the window, without those that had to make room, with a new one for each
            new series: that of a series without any window has no end yet, 0.
        order: The places of the series that some key belongs to, the first key's first.
        counts: What each field counted of these.
        overflowed: How many series found no room.
        forgotten: How many had to make room.
        places: The place of each row.
        last: The place of the series of those without room, or -1.

    """

    streams: StreamTable
    order: Places
    counts: U64Array
    overflowed: int
    forgotten: int
    places: Places
    last: int

    @property
    def whole(self) -> bool:
        """Whether all series of the streams have keys, in its order."""
        return len(self.order) == len(self.streams) and bool((self.order[1:] > self.order[:-1]).all())

    def summed(self, of_rows: U64Array) -> U64Array:
        """Return other numbers of the rows added up by series."""
        return _add_up(self.places, of_rows, len(self.streams), self.last)[1]


def indexed(streams: StreamTable, now: Table, schema: Schema) -> KeyIndex:
    """Return where the series of each key is in the streams."""
    before = streams.key_index
    if before is not None and before.schema is schema and before.names == now.names:
        return before
    places, waiting = _as_before(before, now, schema)
    unknown = [at for at in np.flatnonzero(places < 0).tolist() if at not in waiting]
    waiting |= {at: encode_attributes(schema.attributes_of(now.key(at))) for at in unknown}
    of_series = places_of(streams.series, set(waiting.values()))
    for at, name in waiting.items():
        places[at] = of_series.get(name, -1)
    homeless = np.flatnonzero(places < 0).tolist()
    return KeyIndex(schema, now.names, places.tobytes(), tuple(waiting[at] for at in homeless))


def _as_before(before: KeyIndex | None, now: Table, schema: Schema) -> tuple[Places, dict[int, bytes]]:
    """Return the place of each key whose series has one, and the series of those that waited for one."""
    if before is None or before.schema is not schema or not before.names:
        return np.full(len(now), -1, np.int64), {}
    held = np.frombuffer(before.places, np.int64)
    there = matched(now.names, before.names, now.size)
    places = np.where(there >= 0, held[there], np.int64(-1))
    waited = np.flatnonzero((there >= 0) & (places < 0)) if before.waiting else there[:0]
    number = (np.cumsum(held < 0) - 1)[there[waited]]
    return places, {
        at: before.waiting[which] for at, which in zip(waited.tolist(), number.tolist(), strict=True)
    }


def post(
    streams: StreamTable, places: Places, waiting: Sequence[bytes], grown: U64Array, schema: Schema
) -> Aggregated:
    """
    Add up what was counted by series; those that find no room are added up to one that says so.

    Args:
        streams: The streams.
        places: For each row its series, or -1.
        waiting: The series of the rows with -1, in their order.
        grown: What each field counted in each row.
        schema: What the limit is of.

    """
    rest, forgotten = 0, 0
    if waiting:
        streams, places, rest, forgotten = _settle(streams, places.copy(), waiting, schema)
    last = _overflow(streams, schema) if rest else -1
    order, counts = _add_up(places, grown, len(streams), last)
    return Aggregated(streams, order, counts, rest, forgotten, places, last)


def _overflow(streams: StreamTable, schema: Schema) -> int:
    """Return the place of the series of those without room, or -1."""
    overflow = encode_attributes((*schema.attributes, OVERFLOW))
    return places_of(streams.series, {overflow}).get(overflow, -1)


def _settle(
    streams: StreamTable, places: Places, waiting: Sequence[bytes], schema: Schema
) -> tuple[StreamTable, Places, int, int]:
    """Find a place for each row that has none."""
    overflow = encode_attributes((*schema.attributes, OVERFLOW))
    new = [name for name in dict.fromkeys(waiting) if name != overflow]
    has_overflow = _overflow(streams, schema) >= 0
    limit = max(1, schema.series_limit // max(1, len(schema.instruments)))
    room = limit - (len(streams) - has_overflow)
    forgotten = _longest_idle(streams, places, len(new) - room) if len(new) > room else []
    if forgotten:
        streams, places = _without(streams, places, forgotten)
    placed = new[: max(0, room + len(forgotten))]
    known, rest = len(streams), len(new) - len(placed)
    if (rest or overflow in waiting) and not has_overflow:
        placed.append(overflow)
    streams = _with(streams, placed)
    of_series = {name: known + at for at, name in enumerate(placed)}
    otherwise = _overflow(streams, schema)
    homeless = np.flatnonzero(places < 0)
    places[homeless] = [of_series.get(name, otherwise) for name in waiting]
    return streams, places, rest, len(forgotten)


def _longest_idle(streams: StreamTable, places: Places, wanted: int) -> list[int]:
    is_idle = np.ones(len(streams), np.bool_)
    is_idle[places[places >= 0]] = False
    idle = np.flatnonzero(is_idle)
    longest_first = idle[np.argsort(np.frombuffer(streams.ends, np.uint64)[idle], kind="stable")]
    found = (at for at in longest_first.tolist() if _OVERFLOW_ENCODED not in streams.series[at])
    return list(islice(found, wanted))


def _without(streams: StreamTable, places: Places, gone: Sequence[int]) -> tuple[StreamTable, Places]:
    kept = np.ones(len(streams), np.bool_)
    kept[list(gone)] = False
    moved = np.append(np.cumsum(kept) - 1, -1)  # the last is that of -1

    def picked(numbers: bytes) -> bytes:
        return np.frombuffer(numbers, np.uint64).reshape(-1, len(streams))[:, kept].tobytes()

    fewer = StreamTable(
        only(streams.series, kept),
        streams.width,
        picked(streams.totals),
        picked(streams.ends),
    )
    return fewer, moved[places]


def _with(streams: StreamTable, names: Sequence[bytes]) -> StreamTable:
    """Return the streams with new streams, of series that have counted nothing and that nobody knows."""
    more = len(names)
    totals = np.frombuffer(streams.totals, np.uint64).reshape(streams.width, len(streams))
    return replace(
        streams,
        series=streams.series + EncodedAttributes.of(names),
        totals=np.concatenate([totals, np.zeros((streams.width, more), np.uint64)], axis=1).tobytes(),
        ends=streams.ends + bytes(8 * more),
    )


def next_key_index(key_index: KeyIndex, places: Places, last: int) -> KeyIndex:
    """Return the key_index after its rows were posted to *places*; those without room (*last*) wait on."""
    before = np.frombuffer(key_index.places, np.int64)
    if np.array_equal(places, before):
        return key_index
    homeless = (before < 0) & (places == last)
    held = homeless[before < 0].tolist()
    return KeyIndex(
        key_index.schema,
        key_index.names,
        np.where(homeless, np.int64(-1), places).tobytes(),
        tuple(name for name, waits in zip(key_index.waiting, held, strict=True) if waits),
    )


def _add_up(places: Places, grown: U64Array, size: int, last: int) -> tuple[Places, U64Array]:
    """Return the series that have rows, in the order of their first but for the *last*, and their sums."""
    first = np.full(size, len(places), np.int64)
    first[places[::-1]] = np.arange(len(places) - 1, -1, -1, dtype=np.int64)
    there = np.flatnonzero(first < len(places))
    if len(there) == len(places) and last < 0:
        return places, grown
    first[last] = len(places) if last >= 0 else first[last]
    order = there[np.argsort(first[there], kind="stable")]
    sums = np.zeros((len(grown), size), np.uint64)
    for column, counted in zip(sums, grown, strict=True):
        np.add.at(column, places, counted)
    return order, sums[:, order]
