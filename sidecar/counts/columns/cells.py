# SPDX-License-Identifier: Apache-2.0
"""The cells of many entries at once, added up over the CPUs: the twin of `counts.cells`, by numpy (pure)."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.cells import locate
from sidecar.counts.columns.arrays import Bytes, Mask, U64Array, cells_of
from sidecar.counts.columns.match import find_rows
from sidecar.counts.columns.table import LabelTable, Table
from sidecar.model import Column, Field, Layout, Reading
from sidecar.schema import CPU_BYTES, Schema, ValueLabel

_NATIVE_WIDTHS = (8, 16, 32, 64)


def reading(
    chunks: Iterable[tuple[bytes, bytes]], key_size: int, cpus: Sequence[int], schema: Schema
) -> Reading:
    """Return the reading of a map; the arguments are those of `reading.build_reading`."""
    size, slots = (key_size, len(cpus)) if schema.cpu is None else (key_size + CPU_BYTES, 1)
    keys: list[bytes] = []
    labels: list[bytes] = []
    parts: list[U64Array] = []
    for map_keys, raw in chunks:
        count, some_keys = len(map_keys) // key_size, map_keys
        if schema.cpu is not None:
            count, some_keys = count * len(cpus), split_by_cpu(map_keys, key_size, cpus)
        part = cells(raw, count, schema.layout, slots)
        used = part.any(axis=0) if schema.only_used else None
        keys.append(some_keys if used is None else np.frombuffer(some_keys, f"V{size}")[used].tobytes())
        if schema.value_label is not None:
            read = _label_bytes(raw, count, slots, schema.value_label)
            labels.append((read if used is None else read[used]).tobytes())
        # Not part[:, used], whose rows are not contiguous.
        parts.append(part if used is None else np.compress(used, part, axis=1))
    table = Table(b"".join(keys), size, b"".join(chain.from_iterable(zip(*parts, strict=True))))
    columns = schema.columns(slots)
    if schema.value_label is None:
        return Reading(columns, table)
    return Reading(columns, table, LabelTable(table, b"".join(labels), schema.value_label))


def _label_bytes(raw: bytes, count: int, slots: int, of: ValueLabel) -> Bytes:
    """Return `ValueLabel.read` of each entry."""
    if not count:
        return np.zeros((0, len(of.offsets)), np.uint8)
    copies = np.frombuffer(raw, np.uint8).reshape(count, slots, -1)[:, :, of.offsets]
    first = copies.any(axis=2).argmax(axis=1)
    found: Bytes = copies[np.arange(count), first]
    return found


def with_rows_of(now: Table, other: Table, columns: Sequence[Column]) -> Table:
    """Return *now* with a row of zeros, at the end, for each key of *other* that it lacks."""
    if now.key_bytes == other.key_bytes:
        return now
    missing = find_rows(other.key_bytes, now.key_bytes, now.key_size) < 0
    keys = np.frombuffer(other.key_bytes, f"V{now.key_size}")[missing].tobytes()
    cells = cells_of(now, columns)
    zeros = np.zeros((len(cells), np.count_nonzero(missing)), np.uint64)
    return Table(now.key_bytes + keys, now.key_size, np.hstack([cells, zeros]).tobytes())


def rows_with(table: Table, keys: Sequence[bytes]) -> dict[bytes, tuple[int, ...]]:
    """Return the cells of those of some keys that are there."""
    rows = find_rows(b"".join(keys), table.key_bytes, table.key_size)
    cells = np.frombuffer(table.cell_bytes, np.uint64).reshape(-1, len(table))
    return {
        key: tuple(cells[:, row].tolist()) for key, row in zip(keys, rows.tolist(), strict=True) if row >= 0
    }


def cells(raw: bytes, count: int, layout: Layout, slots: int) -> U64Array:
    """
    Return the cells of *count* entries: a row for each cell, a column for each entry.

    Args:
        raw: The values as the kernel returns them: *slots* for each entry, each padded to the same length.
        count: Number of entries.
        layout: The fields to read.
        slots: Number of possible CPUs, or 1 for a map that is not per-CPU.

    Raises:
        ValueError: *raw* has another length.

    """
    widths = [1 if field.bits == 64 or field.aggregate != "sum" else slots for field in layout.fields]
    found = np.empty((sum(widths), count), np.uint64)
    if not count:
        return found
    stride = len(raw) // (count * slots)
    if len(raw) != count * slots * stride or stride < layout.value_size:
        raise ValueError(f"{len(raw)} bytes are not {count * slots} slots of {layout.value_size} bytes")
    start = 0
    for field, width in zip(layout.fields, widths, strict=True):
        by_slot = _extract(raw, count, slots, stride, field)
        if field.aggregate != "sum":
            rank = layout.field(field.order) if field.order else field
            ranks = _comparable(_extract(raw, count, slots, stride, rank), rank)
            copies: Bytes = np.frombuffer(raw, np.uint8).reshape(count, slots, stride)
            used: Mask = np.any(copies[:, :, : layout.value_size], axis=2)
            found[start] = over_cpus(field, by_slot, ranks, used.T)
        elif width == slots:
            found[start : start + width] = by_slot
        else:
            # Adding slot after slot is faster than a reduction along so short an axis.
            total = found[start]
            total[:] = by_slot[0]
            for slot in by_slot[1:]:
                total += slot
        start += width
    return found


def _comparable(numbers: U64Array, field: Field) -> NDArray[np.integer]:
    """Return the numbers of a field as they compare."""
    if not field.signed:
        return numbers
    sign = np.uint64(1 << (field.bits - 1))
    return ((numbers ^ sign) - sign).view(np.int64)


def over_cpus(field: Field, by_slot: U64Array, ranks: NDArray[np.integer], used: Mask) -> U64Array:
    """Return the value of each entry (`combine.over_cpus`); the arrays have a row for each slot."""
    taken, best = np.zeros(by_slot.shape[1], np.uint64), np.zeros_like(ranks[0])
    has_one = np.zeros(by_slot.shape[1], np.bool_)
    for numbers, rank, is_used in zip(by_slot, ranks, used, strict=True):
        is_better = rank <= best if field.aggregate == "min" else rank >= best
        takes = is_used & (is_better | ~has_one)
        taken, best = np.where(takes, numbers, taken), np.where(takes, rank, best)
        has_one |= takes
    return taken


def split_by_cpu(keys: bytes, key_size: int, cpus: Sequence[int]) -> bytes:
    """Return each key once for each CPU, followed by the CPU's number."""
    each = np.repeat(np.frombuffer(keys, f"V{key_size}"), len(cpus)).view(np.uint8).reshape(-1, key_size)
    suffixes = np.array(cpus, f"=u{CPU_BYTES}").view(np.uint8).reshape(-1, CPU_BYTES)
    return np.hstack([each, np.tile(suffixes, (len(keys) // key_size, 1))]).tobytes()


def _extract(raw: bytes, count: int, slots: int, stride: int, field: Field) -> U64Array:
    """Return the bits of a field as unsigned numbers: a row for each slot, a column for each entry."""
    first, length, shift, order = locate(field)
    shape, strides = (slots, count), (stride, slots * stride)
    if shift == 0 and field.bits in _NATIVE_WIDTHS:
        kind = np.dtype(f"u{field.bits // 8}").newbyteorder(order)
        return np.ndarray(shape, kind, raw, first, strides).astype(np.uint64, copy=False)
    parts = [
        np.ndarray(shape, np.uint8, raw, first + index, strides).astype(np.uint64) for index in range(length)
    ]
    if order == "big":
        parts.reverse()
    number = parts[0] >> np.uint64(shift)
    for index, part in enumerate(parts[1:], 1):
        number |= part << np.uint64(8 * index - shift)
    return number & np.uint64((1 << field.bits) - 1)


def growth(now: U64Array, was: U64Array | None, known: Mask, columns: Sequence[Column]) -> U64Array:
    """
    Return the growth of each field over all CPUs, modulo 2^64, of many entries (`counts.cells.growth`).

    Args:
        now: Cells: a row for each cell, a column for each entry.
        was: The cells to count from, already without the falls of counters (`resets`); 0 if not *known*.
            None: zero.
        known: Whether each entry was there before.
        columns: The columns of the reading.

    """
    if all(column.bits == 64 for column in columns):
        return now if was is None else now - was
    by_field = np.zeros((len(columns), now.shape[1]), np.uint64)
    start = 0
    for at, column in enumerate(columns):
        # Cell by cell, since there may be one for each of hundreds of CPUs.
        for cell in range(start, start + column.cells):
            step = now[cell] if was is None else now[cell] - was[cell]
            by_field[at] += _in_width(step, known, column)
        start += column.cells
    return by_field


def _in_width(step: U64Array, known: Mask, column: Column) -> U64Array:
    """Return a step in the cell's own width, sign-extended where the field may fall."""
    if column.bits == 64:
        return step
    step = step & np.uint64((1 << column.bits) - 1)
    if not column.signed and column.monotonic:
        return step
    sign = np.uint64(1 << (column.bits - 1))
    return np.where(known | np.bool_(column.signed), (step ^ sign) - sign, step)


def values(now: U64Array, columns: Sequence[Column]) -> U64Array:
    """Return the value of each field, added up over the CPUs, modulo 2^64, of many entries."""
    return growth(now, None, np.zeros(now.shape[1], np.bool_), columns)


def sums(table: Table, columns: Sequence[Column]) -> tuple[int, ...]:
    """Return the value of each field added up over all entries and CPUs, modulo 2^64."""
    return tuple(values(cells_of(table, columns), columns).sum(axis=1, dtype=np.uint64).tolist())
