# SPDX-License-Identifier: Apache-2.0
"""
Aggregate the counts of a large map's keys into their series: the twin of `counts.aggregate`, by numpy (pure).

A series is identified by its row in the stream table, which also remembers the row of each place of a key
(`placing`, `KeyIndex`): so a key is labelled once in the life of the process, not once a window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from sidecar.attributes import encode_attributes
from sidecar.counts.aggregate import capacity
from sidecar.counts.columns import names
from sidecar.counts.columns.arrays import Rows, U64Array, as_rows, buckets_of, ends_of, rows_of, totals_of
from sidecar.counts.columns.decoding import encode_places
from sidecar.counts.columns.match import find_rows
from sidecar.counts.columns.placing import Keys, Places
from sidecar.counts.columns.table import EncodedAttributes, KeyIndex, StreamTable
from sidecar.model import ALL_VIEWS
from sidecar.schema import CPU_BYTES, OVERFLOW, Part, Schema

_OVERFLOW_ENCODED = encode_attributes((OVERFLOW,))


@dataclass(frozen=True)
class Aggregated:
    """
    The counts of one window by series.

    Attributes:
        streams: The streams before the window, without the evicted ones, with a row for each new series,
            whose end is 0.
        row_bytes: The rows of the series that have a key, in the order of their first keys, i64.
        counts: The count of each field: a row for each field, a column for each of *rows*.
        overflowed: Number of series beyond the limit.
        forgotten: Number of series evicted.
        key_rows: The row of each place's series, i64.
        spread: Which numbers of its series each key counts in.
        overflow_row: The row of the overflow series if some series were beyond the limit, else -1.
        views: The views of each of *rows*, as bits (`Series.views`); None: all of them have all.

    """

    streams: StreamTable
    row_bytes: bytes
    counts: U64Array
    overflowed: int
    forgotten: int
    key_rows: bytes
    spread: "Spread"
    overflow_row: int
    views: Rows | None

    @property
    def rows(self) -> Rows:
        """The rows of the series that have a key, in the order of their first keys."""
        return as_rows(self.row_bytes)

    @property
    def is_whole(self) -> bool:
        """Whether *rows* are all rows of the streams, in order."""
        return _are_all(self.row_bytes, len(self.streams))

    def values_by_series(self, of_keys: U64Array, schema: Schema) -> U64Array:
        """Return the values of the keys by series, combined as the schema says."""
        found = _sum_by_series(self.key_rows, self.row_bytes, of_keys, len(self.streams), self.spread)
        if schema.only_sums or len(self.row_bytes) == len(self.key_rows):
            return found
        chosen = np.zeros((len(found), len(self.streams)), np.uint64)
        for at, numbers, ranks, targets in self._ranked(of_keys):
            # Of several assignments to one element the last one holds: that of the greatest rank.
            order = np.argsort(ranks, kind="stable")
            order = order[::-1] if schema.numbers[at].aggregate == "min" else order
            chosen.reshape(-1)[targets[order]] = numbers[order]
        for at, number in enumerate(schema.numbers):
            if number.aggregate != "sum":
                found[at] = chosen[at][self.rows]
        return found

    def _ranked(self, of_keys: U64Array) -> Iterator[tuple[int, U64Array, NDArray[np.integer], Rows]]:
        """
        Yield for each field that is not summed (`combine.BySeries`) one of its numbers.

        With the values of its places, the rank of each, and where it belongs among the numbers of all series.
        """
        for part, keys, first in self.spread.each(as_rows(self.key_rows), len(self.streams)):
            names = [field.name for field in part.fields]
            for at, field in enumerate(part.fields):
                if field.aggregate != "sum":
                    rank = names.index(field.order) if field.order else at
                    ranks = of_keys[part.picks[rank]][keys]
                    is_signed = part.fields[rank].signed
                    numbers = of_keys[part.picks[at]][keys]
                    targets = first + at * len(self.streams)
                    yield part.first + at, numbers, ranks.view(np.int64) if is_signed else ranks, targets


@dataclass(frozen=True)
class Spread:
    """
    Which numbers of its series each key counts in.

    Attributes:
        parts: The numbers of each view.
        keys: The key of each place; None: each key has one place.
        views: The number of each place's view; None: there is only one view.
        buckets: The bucket of each place; empty if no key tells buckets apart.

    """

    parts: tuple[Part, ...]
    keys: Rows | None
    views: Rows | None
    buckets: Rows

    @property
    def is_whole(self) -> bool:
        """Whether each key counts in all numbers of its series, in their order."""
        first = self.parts[0]
        is_one = len(self.parts) == 1 and not first.view.buckets
        return is_one and first.picks == tuple(range(len(first.picks)))

    def each(self, key_rows: Rows, count: int) -> Iterator[tuple[Part, Rows | slice, Rows]]:
        """
        Yield the numbers of each view, and of its places the keys, and where the first number of each is.

        That is an index among the numbers of *count* series, number after number; those that follow are
        *count* further each.
        """
        for number, part in enumerate(self.parts):
            which = slice(None) if self.views is None else np.flatnonzero(self.views == number)
            first = part.first * count + key_rows[which]
            if len(self.buckets):
                first += self.buckets[which] * (len(part.picks) * count)
            yield part, which if self.keys is None else self.keys[which], first


def index_keys(streams: StreamTable, keys: Keys, places: Places, schema: Schema) -> KeyIndex:
    """Return the series of the keys of a reading."""
    before = streams.key_index
    if before is not None and before.schema is schema and before.names == places.names:
        return replace(before, all_key_bytes=keys.all_key_bytes, all_view_bytes=keys.all_view_bytes)
    rows, known_at, known = _known_series(before, places, schema)
    lacking = np.flatnonzero(rows < 0)
    is_new = np.isin(lacking, known_at, invert=True)
    unplaced = encode_places(places, lacking[is_new], keys.table.key_size, schema)
    if len(known):
        order = np.empty(len(lacking), np.int64)
        order[~is_new], order[is_new] = np.arange(len(known)), np.arange(len(known), len(lacking))
        unplaced = names.take(names.together(known, unplaced), order)
    rows[lacking] = names.find(streams.series, unplaced)
    return KeyIndex(
        schema,
        places.names,
        rows.tobytes(),
        names.select(unplaced, rows[lacking] < 0),
        _buckets(before, keys, places, schema).tobytes(),
        keys.all_key_bytes,
        keys.all_view_bytes,
    )


def _buckets(before: KeyIndex | None, keys: Keys, places: Places, schema: Schema) -> Rows:
    """Return the bucket of each place; none if no key tells buckets apart."""
    if all(part.view.bucket is None for part in schema.parts):
        return np.zeros(0, np.int64)
    buckets = np.full(len(places), -1, np.int64)
    if _is_of(before, places, schema):
        matches = find_rows(places.names, before.names, places.size)
        buckets = np.where(matches >= 0, buckets_of(before)[matches], buckets)
    size = keys.table.key_size - (CPU_BYTES if schema.cpu is not None else 0)
    for at in np.flatnonzero(buckets < 0).tolist():
        bucket = schema.parts[0 if places.views is None else int(places.views[at])].view.bucket
        buckets[at] = bucket(places.name(at)[:size]) if bucket else 0
    return buckets


def _is_of(before: KeyIndex | None, places: Places, schema: Schema) -> TypeGuard[KeyIndex]:
    """Return whether places of the last reading are named as these are."""
    if before is None or before.schema is not schema or not before.names:
        return False
    return len(before.names) == places.size * len(rows_of(before))


def _known_series(
    before: KeyIndex | None, places: Places, schema: Schema
) -> tuple[Rows, Rows, EncodedAttributes]:
    """Return the row of each place that had one; and which places had none, with their series."""
    none = np.zeros(0, np.int64), EncodedAttributes.of([])
    if not _is_of(before, places, schema):
        return np.full(len(places), -1, np.int64), *none
    rows_before = rows_of(before)
    matches = find_rows(places.names, before.names, places.size)
    rows = np.where(matches >= 0, rows_before[matches], np.int64(-1))
    if not len(before.unplaced):
        return rows, *none
    unplaced = np.flatnonzero((matches >= 0) & (rows < 0))
    index_in_unplaced = np.cumsum(rows_before < 0) - 1
    return rows, unplaced, names.take(before.unplaced, index_in_unplaced[matches[unplaced]])


def aggregate(
    streams: StreamTable,
    key_rows: bytes,
    unplaced: EncodedAttributes,
    counts: U64Array,
    schema: Schema,
    spread: Spread,
) -> Aggregated:
    """
    Sum the counts of keys by series; series beyond the limit are aggregated into one overflow series.

    Args:
        streams: The streams before the window.
        key_rows: The row of each place's series, or -1, i64.
        unplaced: The series of the places with -1, in their order.
        counts: The count of each field: a row for each field, a column for each key.
        schema: Has the limit.
        spread: Which numbers of its series each key counts in.

    """
    overflowed, forgotten, overflow_row = 0, 0, -1
    if len(unplaced):
        streams, placed, overflow_row, overflowed, forgotten = _place(
            streams, as_rows(key_rows), unplaced, schema
        )
        key_rows = placed.tobytes()
    row_bytes = _rows_with_keys(key_rows, len(streams), overflow_row)
    sums = _sum_by_series(key_rows, row_bytes, counts, len(streams), spread)
    views = None
    if spread.views is not None:
        of_all = as_rows(_views_of_series(key_rows, spread.views.tobytes(), len(streams), overflow_row))
        views = of_all[as_rows(row_bytes)]
    return Aggregated(streams, row_bytes, sums, overflowed, forgotten, key_rows, spread, overflow_row, views)


def _place(
    streams: StreamTable, key_rows: Rows, unplaced: EncodedAttributes, schema: Schema
) -> tuple[StreamTable, Rows, int, int, int]:
    """
    Assign a row to each key that has none.

    Returns:
        The streams, with rows for new series; the row of each key; the row of the overflow series, or -1 if
        no series is beyond the limit; the number of series beyond it; and the number of series evicted.

    """
    overflow = encode_attributes((*schema.attributes, OVERFLOW))
    overflow_row = _row_of(overflow, streams.series)
    room = capacity(schema) - (len(streams) - (overflow_row >= 0))
    if len(unplaced) <= room and names.are_distinct(unplaced) and _row_of(overflow, unplaced) < 0:
        key_rows = key_rows.copy()
        key_rows[key_rows < 0] = np.arange(len(streams), len(streams) + len(unplaced))
        return _with(streams, unplaced), key_rows, -1, 0, 0
    each = list(unplaced)
    new = [series for series in dict.fromkeys(each) if series != overflow]
    evicted = _longest_idle(streams, key_rows, len(new) - room) if len(new) > room else []
    if evicted:
        streams, moved = _without(streams, evicted)
        key_rows, overflow_row = moved[key_rows], int(moved[overflow_row])
    placed = new[: max(0, room + len(evicted))]
    overflowed = len(new) - len(placed)
    if overflow_row < 0 and (overflowed or overflow in each):
        overflow_row = len(streams) + len(placed)
        placed.append(overflow)
    row_of = {series: row for row, series in enumerate(placed, len(streams))}
    key_rows = key_rows.copy()
    key_rows[key_rows < 0] = [row_of.get(series, overflow_row) for series in each]
    return (
        _with(streams, EncodedAttributes.of(placed)),
        key_rows,
        overflow_row if overflowed else -1,
        overflowed,
        len(evicted),
    )


def _row_of(series: bytes, names_: EncodedAttributes) -> int:
    return int(names.find(names_, EncodedAttributes.of([series]))[0])


def _longest_idle(streams: StreamTable, key_rows: Rows, wanted: int) -> list[int]:
    is_idle = np.ones(len(streams), np.bool_)
    is_idle[key_rows[key_rows >= 0]] = False
    idle = np.flatnonzero(is_idle)
    longest_first = idle[np.argsort(ends_of(streams)[idle], kind="stable")]
    candidates = (row for row in longest_first.tolist() if _OVERFLOW_ENCODED not in streams.series[row])
    return list(islice(candidates, wanted))


def _without(streams: StreamTable, evicted: Sequence[int]) -> tuple[StreamTable, Rows]:
    """Return the streams without some rows, and the new row of each old one; -1 remains -1."""
    kept = np.ones(len(streams), np.bool_)
    kept[list(evicted)] = False
    remaining = StreamTable(
        names.select(streams.series, kept),
        streams.width,
        totals_of(streams)[:, kept].tobytes(),
        ends_of(streams)[kept].tobytes(),
    )
    return remaining, np.append(np.cumsum(kept) - 1, -1)


def _with(streams: StreamTable, new: EncodedAttributes) -> StreamTable:
    """Return the streams with rows for new series, which have counted nothing and were never exported."""
    totals = np.concatenate([totals_of(streams), np.zeros((streams.width, len(new)), np.uint64)], axis=1)
    return replace(
        streams,
        series=names.together(streams.series, new),
        totals=totals.tobytes(),
        ends=streams.ends + bytes(8 * len(new)),
    )


def next_key_index(key_index: KeyIndex, key_rows: bytes, overflow_row: int) -> KeyIndex:
    """Return the key index once its places have these rows; those in the overflow series remain unplaced."""
    if key_rows == key_index.row_bytes:
        return key_index
    before, rows = rows_of(key_index), as_rows(key_rows)
    is_unplaced = (before < 0) & (rows == overflow_row)
    return replace(
        key_index,
        row_bytes=np.where(is_unplaced, np.int64(-1), rows).tobytes(),
        unplaced=names.select(key_index.unplaced, is_unplaced[before < 0]),
    )


# Most windows have the same keys as the last one; the bytes that a key index keeps are hashed only once.
@lru_cache(maxsize=4)
def _rows_with_keys(key_rows: bytes, count: int, overflow_row: int) -> bytes:
    """
    Return the rows of the series that have a key, of *count* series.

    They are in the order of their first keys; the overflow series, if some overflowed, is last.
    """
    keys = len(key_rows) // 8
    first_key = _first_keys(as_rows(key_rows), count)
    rows = np.flatnonzero(first_key < keys)
    if len(rows) == keys and overflow_row < 0:
        return key_rows
    if overflow_row >= 0:
        first_key[overflow_row] = keys
    return rows[np.argsort(first_key[rows], kind="stable")].tobytes()


@lru_cache(maxsize=4)
def _are_all(row_bytes: bytes, count: int) -> bool:
    return row_bytes == np.arange(count, dtype=np.int64).tobytes()


@lru_cache(maxsize=1)
def _views_of_series(key_rows: bytes, views: bytes, count: int, overflow_row: int) -> bytes:
    """Return the views of each of *count* series, as bits; the overflow series has all."""
    of_series, of_places = np.zeros(count, np.int64), as_rows(views)
    for view in range(of_places.max(initial=-1) + 1):
        has_it = np.zeros(count, np.bool_)
        has_it[as_rows(key_rows)[of_places == view]] = True
        of_series |= has_it.astype(np.int64) << view
    if overflow_row >= 0:
        of_series[overflow_row] = ALL_VIEWS
    return of_series.tobytes()


def _sum_by_series(
    key_rows: bytes, row_bytes: bytes, of_keys: U64Array, count: int, spread: Spread
) -> U64Array:
    """Return the sums of the series in *row_bytes*, in their order."""
    if spread.is_whole and row_bytes == key_rows:
        return of_keys
    width = sum(len(part.picks) * max(1, part.view.buckets) for part in spread.parts)
    sums = np.zeros((width, count), np.uint64)
    for part, keys, first in spread.each(as_rows(key_rows), count):
        for at, pick in enumerate(part.picks):
            np.add.at(sums.reshape(-1), first + at * count, of_keys[pick][keys])
    return sums if _are_all(row_bytes, count) else np.take(sums, as_rows(row_bytes), axis=1)


def _first_keys(key_rows: Rows, count: int) -> Rows:
    """Return the first key of each of *count* series; the number of keys for a series that has none."""
    keys = np.arange(len(key_rows), dtype=np.int64)
    first = np.full(count, len(key_rows), np.int64)
    # Of several assignments to one element the last one holds: backwards, that of the first key.
    first[key_rows[::-1]] = keys[::-1]
    return first
