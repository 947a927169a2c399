# SPDX-License-Identifier: Apache-2.0
"""
In which views the keys of a large map count: the twin of `counts.placing`, by numpy (pure).

A key counts once in each view that it belongs to; each time is a place. A place is named by the key, the
bytes of its value that give labels, and the number of the view: that of a key whose label changed is another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sidecar.counts.columns.arrays import Mask, Rows, U64Array, as_rows, cells_of
from sidecar.counts.columns.cells import values
from sidecar.counts.columns.growth import Growth, growth_since
from sidecar.counts.columns.match import find_rows
from sidecar.counts.columns.table import KeyIndex, LabelTable, Table
from sidecar.counts.resets import Resets
from sidecar.model import Attributes, Column, Reading
from sidecar.schema import CPU_BYTES, Label, Schema

MOST_VIEWS = 62
"""So many are the bits of an i64, without the one that it would be negative with."""


@dataclass(frozen=True)
class Keys:
    """
    The keys of a reading that belong to some view.

    Attributes:
        table: Their cells.
        label_bytes: What `ValueLabel.read` returned for each.
        view_bytes: The views of each, as bits, i64; empty if there is only one view.
        all_key_bytes: All keys of the reading.
        all_view_bytes: The views of each of these, 0 for none; empty if all views are of all keys.

    """

    table: Table
    label_bytes: bytes
    view_bytes: bytes
    all_key_bytes: bytes
    all_view_bytes: bytes


def keys_of(reading: Reading, key_size: int, schema: Schema, known: KeyIndex | None) -> Keys:
    """Return the keys that belong to some view; *known* has the views of the keys of another reading."""
    table = Table.of(reading.cells, key_size)
    labels, has_one = _label_bytes(reading, table, schema), len(schema.parts) == 1
    if all(part.view.selects is None for part in schema.parts):
        every = np.full(0 if has_one else len(table), (1 << len(schema.parts)) - 1, np.int64)
        return Keys(table, labels, every.tobytes(), table.key_bytes, b"")
    views = _views(table, schema, known)
    chosen, all_view_bytes, all_key_bytes = views != 0, views.tobytes(), table.key_bytes
    if not chosen.all():
        cells = cells_of(table, reading.columns)[:, chosen].tobytes()
        table = Table(_only(table.key_bytes, chosen), table.key_size, cells)
        labels, views = _only(labels, chosen), views[chosen]
    return Keys(table, labels, b"" if has_one else views.tobytes(), all_key_bytes, all_view_bytes)


def _only(rows: bytes, chosen: Mask) -> bytes:
    """Return some of as many rows."""
    return np.frombuffer(rows, f"V{len(rows) // len(chosen)}")[chosen].tobytes() if rows else b""


def _label_bytes(reading: Reading, table: Table, schema: Schema) -> bytes:
    if schema.value_label is None:
        return b""
    read = reading.labels.read if isinstance(reading.labels, LabelTable) else b""
    # The rows of an array that were added since it was read are the last ones, and hold zeros.
    return read + bytes(len(table) * len(schema.value_label.offsets) - len(read))


def _views(table: Table, schema: Schema, known: KeyIndex | None) -> Rows:
    """Return the views of each key, as bits."""
    views = np.full(len(table), -1, np.int64)
    if known is not None and known.schema is schema and known.all_view_bytes:
        known_views = as_rows(known.all_view_bytes)
        if known.all_key_bytes == table.key_bytes:
            return known_views
        matches = find_rows(table.key_bytes, known.all_key_bytes, table.key_size)
        views = np.where(matches >= 0, known_views[matches], views)
    size = table.key_size - (CPU_BYTES if schema.cpu is not None else 0)
    each = [(part.bit, part.view.selects) for part in schema.parts]
    for at in np.flatnonzero(views < 0).tolist():
        key = table.key(at)[:size]
        views[at] = sum([bit for bit, selects in each if selects is None or selects(key)])
    return views


def growth_of(
    now: Keys, was: Keys | None, columns: tuple[Column, ...], schema: Schema, resets: Resets
) -> Growth:
    """Return the growth of the keys since the last reading (`growth_since`)."""
    before = None if was is None else was.table
    each = list(_by_columns([keys for keys in (now, was) if keys is not None], columns, schema))
    if len(each) == 1:
        return growth_since(now.table, before, each[0][0], resets)
    counts = np.zeros((len(columns), len(now.table)), np.uint64)
    vanished: tuple[bytes, ...] = ()
    for of_some, bits in each:
        which = np.isin(as_rows(now.view_bytes), bits)
        held = None if was is None else _some(was.table, np.isin(as_rows(was.view_bytes), bits), columns)
        grown = growth_since(_some(now.table, which, columns), held, of_some, resets)
        counts[:, which] = grown.counts
        vanished += grown.vanished
    return Growth(counts, vanished)


def values_of(keys: Keys, columns: tuple[Column, ...], schema: Schema) -> U64Array:
    """Return the value of each field (`cells.values`)."""
    cells = cells_of(keys.table, columns)
    each = list(_by_columns([keys], columns, schema))
    if len(each) == 1:
        return values(cells, each[0][0])
    held = np.zeros((len(columns), len(keys.table)), np.uint64)
    for of_some, bits in each:
        which = np.isin(as_rows(keys.view_bytes), bits)
        held[:, which] = values(cells[:, which], of_some)
    return held


def _some(table: Table, which: Mask, columns: Sequence[Column]) -> Table:
    cells = cells_of(table, columns)[:, which].tobytes()
    return Table(_only(table.key_bytes, which), table.key_size, cells)


def _by_columns(
    readings: Sequence[Keys], columns: tuple[Column, ...], schema: Schema
) -> Iterator[tuple[tuple[Column, ...], list[int]]]:
    """Yield the columns as they are for the keys of some views, with the views, as bits: at least once."""
    found: dict[tuple[Column, ...], list[int]] = {}
    for bits in sorted({bits for keys in readings for bits in _combinations(keys.view_bytes)}):
        found.setdefault(schema.columns_in(bits, columns), []).append(bits)
    yield from found.items() or [(columns, [])]


@lru_cache(maxsize=4)
def _combinations(view_bytes: bytes) -> tuple[int, ...]:
    return tuple(np.unique(as_rows(view_bytes)).tolist())


@dataclass(frozen=True)
class Places:
    """
    The places of the keys, key by key.

    Attributes:
        names: What names them, one after the other.
        size: Bytes of each name.
        keys: The row of each place's key; None: each key has one place.
        views: The number of each place's view; None: there is only one view.

    """

    names: bytes
    size: int
    keys: Rows | None
    views: Rows | None

    def __len__(self) -> int:
        return len(self.names) // self.size

    def name(self, at: int) -> bytes:
        """Return the name of a place."""
        return self.names[at * self.size : (at + 1) * self.size]


def places_of(keys: Keys) -> Places:
    """Return the places of some keys."""
    key_bytes, size = keys.table.key_bytes, keys.table.key_size
    if not keys.label_bytes and not keys.view_bytes:
        return Places(key_bytes, size, None, None)
    return _places(key_bytes, size, keys.label_bytes, keys.view_bytes)


# Most maps have the same keys in one reading after the other.
@lru_cache(maxsize=4)
def _places(key_bytes: bytes, key_size: int, label_bytes: bytes, view_bytes: bytes) -> Places:
    count = len(key_bytes) // key_size
    columns = [np.frombuffer(read, np.uint8).reshape(count, -1) for read in (key_bytes, label_bytes) if read]
    keys = views = None
    if view_bytes:
        bits = as_rows(view_bytes)
        # Key by key, since so the order of the series is that of the keys.
        keys, views = np.nonzero(bits[:, np.newaxis] >> np.arange(int(bits.max()).bit_length()) & 1)
        columns = [*(column[keys] for column in columns), views.astype(np.uint8)[:, np.newaxis]]
    names = np.hstack(columns)
    return Places(names.tobytes(), names.shape[1], keys, views)


def labels_of(schema: Schema, key_size: int) -> Label:
    """Return the function from the name of a place to the attributes of its series."""
    parts, value_label = schema.parts, schema.value_label
    if len(parts) == 1 and value_label is None and schema.cpu is None and not schema.attributes:
        return parts[0].view.label
    last = key_size + (0 if value_label is None else len(value_label.offsets))

    def attributes(name: bytes) -> Attributes:
        view = parts[name[last] if len(parts) > 1 else 0].view
        of_value = () if value_label is None else value_label.attributes(name[key_size:last])
        return schema.attributes_with(name[:key_size], view.label, of_value)

    return attributes
