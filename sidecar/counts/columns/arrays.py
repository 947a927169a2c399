# SPDX-License-Identifier: Apache-2.0
"""The bytes of the tables as numpy arrays, without copying them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.columns.table import KeyIndex, StreamTable, Table
from sidecar.model import Column

U64Array = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]
"""Row numbers; -1 for none."""

Offsets = NDArray[np.int64]
"""Offsets in bytes."""


def cells_of(table: Table, columns: Sequence[Column]) -> U64Array:
    """Return the cells of a table: a row for each cell, a column for each key."""
    width = sum(column.cells for column in columns)
    return np.frombuffer(table.cell_bytes, np.uint64).reshape(width, len(table))


def totals_of(streams: StreamTable) -> U64Array:
    """Return the totals of the streams: a row for each field, a column for each series."""
    return np.frombuffer(streams.totals, np.uint64).reshape(streams.width, len(streams))


def ends_of(streams: StreamTable) -> U64Array:
    """Return the end of each series' last exported window, Unix ns; 0 if there was none."""
    return np.frombuffer(streams.ends, np.uint64)


def as_rows(row_bytes: bytes) -> Rows:
    """Return row numbers that are bytes, i64."""
    return np.frombuffer(row_bytes, np.int64)


def rows_of(key_index: KeyIndex) -> Rows:
    """Return the row of each key's series."""
    return as_rows(key_index.row_bytes)


def buckets_of(key_index: KeyIndex) -> Rows:
    """Return the bucket of each key; empty unless the key tells buckets apart."""
    return np.frombuffer(key_index.bucket_bytes, np.int64)
