# SPDX-License-Identifier: Apache-2.0
"""
Large maps in columns, by numpy: the twin of the code that handles a map entry by entry.

Code outside imports the types and functions below; only code that itself needs numpy imports the modules
inside. The functions import numpy when they are called, because it takes 12 MB that small maps do not need,
and return None where their argument is not in columns.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sidecar.counts.columns.series import SeriesTable
from sidecar.counts.columns.table import (
    COLUMNAR_FROM,
    EncodedAttributes,
    LabelTable,
    StreamTable,
    Table,
    in_columns,
    key_size,
    packed,
)

if TYPE_CHECKING:
    from sidecar.counts.window import NextWindow
    from sidecar.model import Baseline, Cells, Reading, Snapshot
    from sidecar.schema import Schema

__all__ = [
    "COLUMNAR_FROM",
    "Chunk",
    "EncodedAttributes",
    "LabelTable",
    "SeriesTable",
    "StreamTable",
    "Table",
    "columnar_reading",
    "columnar_rows",
    "columnar_sums",
    "columnar_window",
    "columnar_with_rows",
    "common_prefix",
    "in_columns",
    "key_size",
    "packed",
]

Chunk = tuple[bytes, bytes]
"""Some keys of a map, one after the other, and the values that the kernel returned for them."""


def columnar_reading(
    chunks: Iterable[Chunk], key_size: int, cpus: Sequence[int], schema: "Schema"
) -> "Reading":
    """Return the reading of a map; the arguments are those of `reading.build_reading`."""
    from sidecar.counts.columns.cells import reading  # noqa: PLC0415

    return reading(chunks, key_size, cpus, schema)


def columnar_window(
    baseline: "Baseline",
    snapshots: "Sequence[Snapshot]",
    schema: "Schema",
    after: "Baseline",
    *,
    include_idle: bool,
) -> "NextWindow | None":
    """Return the next window (`delta.advance`), or None where the columns do not fit."""
    if not isinstance(snapshots[-1].reading.cells, Table):
        return None
    from sidecar.counts.columns import delta  # noqa: PLC0415

    if not delta.fits(baseline, snapshots, schema):
        return None
    return delta.window(baseline, snapshots, schema, after, include_idle=include_idle)


def columnar_with_rows(now: "Reading", other: "Reading") -> Table | None:
    """Return the cells of *now* with a row of zeros for each key that only *other* has (`counts.unused`)."""
    if not isinstance(now.cells, Table):
        return None
    from sidecar.counts.columns.cells import with_rows_of  # noqa: PLC0415

    return with_rows_of(now.cells, Table.of(other.cells, now.cells.key_size), now.columns)


def columnar_rows(cells: "Cells", keys: Sequence[bytes]) -> dict[bytes, tuple[int, ...]] | None:
    """Return the cells of those of some keys that are there."""
    if not isinstance(cells, Table):
        return None
    from sidecar.counts.columns.cells import rows_with  # noqa: PLC0415

    return rows_with(cells, keys)


def columnar_sums(reading: "Reading") -> tuple[int, ...] | None:
    """Return the value of each field added up over all entries and CPUs, modulo 2^64."""
    if not isinstance(reading.cells, Table):
        return None
    from sidecar.counts.columns.cells import sums  # noqa: PLC0415

    return sums(reading.cells, reading.columns)


def common_prefix(left: EncodedAttributes, right: EncodedAttributes) -> int:
    """Return how many series at the start of both are the same."""
    from sidecar.counts.columns import names  # noqa: PLC0415

    return names.common_prefix(left, right)
