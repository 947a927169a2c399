# SPDX-License-Identifier: Apache-2.0
"""
Aggregate the counts of a large map's keys into their series: the twin of `counts.aggregate`, by numpy (pure).

A series is identified by its row in the stream table, which also remembers the row of each key (`KeyIndex`):
so a key is labelled once in the life of the process, not once a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np

from sidecar.attributes import decode_attributes, encode_attributes
from sidecar.counts.aggregate import capacity
from sidecar.counts.columns import names, naming
from sidecar.counts.columns.arrays import Rows, U64Array, as_rows, buckets_of, ends_of, rows_of, totals_of
from sidecar.counts.columns.match import find_rows
from sidecar.counts.columns.table import EncodedAttributes, KeyIndex, StreamTable, Table
from sidecar.model import Attributes
from sidecar.schema import CPU_BYTES, OVERFLOW, Schema

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
        key_rows: The row of each key's series, i64.
        spread: Which numbers of its series each key counts in.
        overflow_row: The row of the overflow series if some series were beyond the limit, else -1.

    """

    streams: StreamTable
    row_bytes: bytes
    counts: U64Array
    overflowed: int
    forgotten: int
    key_rows: bytes
    spread: "Spread | None"
    overflow_row: int

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
        for at, field in enumerate(schema.layout.fields):
            if field.aggregate != "sum":
                found[at] = self._chosen(of_keys, at, schema)[self.rows]
        return found

    def _chosen(self, of_keys: U64Array, at: int, schema: Schema) -> U64Array:
        """Return the value of each series of a field that is not summed (`combine.BySeries`)."""
        fields = schema.layout.fields
        rank = schema.index[fields[at].order] if fields[at].order else at
        ranks = of_keys[rank].view(np.int64) if fields[rank].signed else of_keys[rank]
        keys = np.argsort(ranks, kind="stable")
        if fields[at].aggregate == "min":
            keys = keys[::-1]
        chosen = np.zeros(len(self.streams), np.uint64)
        # Of several assignments to one element the last one holds: that of the greatest rank.
        chosen[as_rows(self.key_rows)[keys]] = of_keys[at][keys]
        return chosen


@dataclass(frozen=True)
class Spread:
    """
    Which numbers of a series each key counts in, in a schema with one view.

    Attributes:
        picks: The fields of the view, by their indices among those of the keys.
        buckets: How many buckets the keys tell apart; at least 1.
        of_keys: The bucket of each key; empty if there is one.

    """

    picks: tuple[int, ...]
    buckets: int
    of_keys: Rows


def index_keys(streams: StreamTable, now: Table, schema: Schema) -> KeyIndex:
    """Return the series of each key of a reading."""
    before = streams.key_index
    if before is not None and before.schema is schema and before.key_bytes == now.key_bytes:
        return before
    rows, known = _known_series(before, now, schema)
    lacking = np.flatnonzero(rows < 0)
    view = schema.parts[0].view
    attributes_of = schema.attributes_by(view.label)
    unplaced = naming.encode(
        known[at] if at in known else attributes_of(now.key(at)) for at in lacking.tolist()
    )
    rows[lacking] = names.find(streams.series, unplaced)
    return KeyIndex(
        schema,
        now.key_bytes,
        rows.tobytes(),
        names.select(unplaced, rows[lacking] < 0),
        _buckets(before, now, schema).tobytes() if view.bucket else b"",
    )


def _buckets(before: KeyIndex | None, now: Table, schema: Schema) -> Rows:
    """Return the bucket of each key of a schema whose keys tell buckets apart."""
    buckets = np.full(len(now), -1, np.int64)
    if before is not None and before.schema is schema and before.key_bytes:
        matches = find_rows(now.key_bytes, before.key_bytes, now.key_size)
        buckets = np.where(matches >= 0, buckets_of(before)[matches], buckets)
    bucket, cpu_bytes = schema.parts[0].view.bucket, CPU_BYTES if schema.cpu is not None else 0
    assert bucket is not None  # noqa: S101  # the caller looked
    for at in np.flatnonzero(buckets < 0).tolist():
        buckets[at] = bucket(now.key(at)[: now.key_size - cpu_bytes])
    return buckets


def _known_series(before: KeyIndex | None, now: Table, schema: Schema) -> tuple[Rows, dict[int, Attributes]]:
    """Return the row of each key that had one, and by key the attributes of those that had none."""
    if before is None or before.schema is not schema or not before.key_bytes:
        return np.full(len(now), -1, np.int64), {}
    rows_before = rows_of(before)
    matches = find_rows(now.key_bytes, before.key_bytes, now.key_size)
    rows = np.where(matches >= 0, rows_before[matches], np.int64(-1))
    if not len(before.unplaced):
        return rows, {}
    unplaced = np.flatnonzero((matches >= 0) & (rows < 0))
    index_in_unplaced = np.cumsum(rows_before < 0) - 1
    indices = index_in_unplaced[matches[unplaced]].tolist()
    return rows, {
        at: decode_attributes(before.unplaced[index])
        for at, index in zip(unplaced.tolist(), indices, strict=True)
    }


def aggregate(
    streams: StreamTable,
    key_rows: bytes,
    unplaced: EncodedAttributes,
    counts: U64Array,
    schema: Schema,
    spread: Spread | None = None,
) -> Aggregated:
    """
    Sum the counts of keys by series; series beyond the limit are aggregated into one overflow series.

    Args:
        streams: The streams before the window.
        key_rows: The row of each key's series, or -1, i64.
        unplaced: The series of the keys with -1, in their order.
        counts: The count of each field: a row for each field, a column for each key.
        schema: Has the limit.
        spread: Which numbers of its series each key counts in; None: all, and there are no others.

    """
    overflowed, forgotten, overflow_row = 0, 0, -1
    if len(unplaced):
        streams, placed, overflow_row, overflowed, forgotten = _place(
            streams, as_rows(key_rows), unplaced, schema
        )
        key_rows = placed.tobytes()
    row_bytes = _rows_with_keys(key_rows, len(streams), overflow_row)
    sums = _sum_by_series(key_rows, row_bytes, counts, len(streams), spread)
    return Aggregated(streams, row_bytes, sums, overflowed, forgotten, key_rows, spread, overflow_row)


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
        series=streams.series + new,
        totals=totals.tobytes(),
        ends=streams.ends + bytes(8 * len(new)),
    )


def next_key_index(key_index: KeyIndex, key_rows: bytes, overflow_row: int) -> KeyIndex:
    """Return the key index once its keys have these rows; those in the overflow series remain unplaced."""
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


def _sum_by_series(
    key_rows: bytes, row_bytes: bytes, of_keys: U64Array, count: int, spread: Spread | None
) -> U64Array:
    """Return the sums of the series in *row_bytes*, in their order."""
    if spread is not None:
        sums = _spread(as_rows(key_rows), of_keys, count, spread)
    elif row_bytes == key_rows:
        return of_keys
    else:
        sums = np.zeros((len(of_keys), count), np.uint64)
        for total, numbers in zip(sums, of_keys, strict=True):
            np.add.at(total, as_rows(key_rows), numbers)
    return sums if _are_all(row_bytes, count) else np.take(sums, as_rows(row_bytes), axis=1)


def _spread(key_rows: Rows, of_keys: U64Array, count: int, spread: Spread) -> U64Array:
    """Return the numbers of each of *count* series: bucket by bucket the fields of the view."""
    each = len(spread.picks)
    sums = np.zeros((spread.buckets * each, count), np.uint64)
    first = key_rows + spread.of_keys * (each * count) if len(spread.of_keys) else key_rows
    for at, pick in enumerate(spread.picks):
        np.add.at(sums.reshape(-1), first + at * count, of_keys[pick])
    return sums


def _first_keys(key_rows: Rows, count: int) -> Rows:
    """Return the first key of each of *count* series; the number of keys for a series that has none."""
    keys = np.arange(len(key_rows), dtype=np.int64)
    first = np.full(count, len(key_rows), np.int64)
    # Of several assignments to one element the last one holds: backwards, that of the first key.
    first[key_rows[::-1]] = keys[::-1]
    return first
