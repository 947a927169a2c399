# SPDX-License-Identifier: Apache-2.0
"""Cells: the numbers in a map's values, added up over the CPUs in each field's own width (pure)."""

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Literal

from sidecar.counts.combine import over_cpus
from sidecar.model import Column, Field, Layout
from sidecar.u64 import U64, signed


def cells(raw: bytes, layout: Layout, slots: int) -> tuple[int, ...]:
    """
    Return the cells of one entry: a 64-bit field added up over the slots modulo 2^64, a narrower one by slot.

    One that is not summed has one cell too, whatever its width (`combine`).

    Args:
        raw: The value as the kernel returns it: *slots* values, each padded to the same length.
        layout: The fields to read.
        slots: Number of possible CPUs, or 1 for a map that is not per-CPU.

    Raises:
        ValueError: *raw* has another length.

    """
    stride, rest = divmod(len(raw), slots)
    if rest or stride < layout.value_size:
        raise ValueError(f"{len(raw)} bytes are not {slots} slots of {layout.value_size} bytes")
    if layout.words is not None and stride % 8 == 0:
        words = memoryview(raw).cast("Q").tolist()
        return tuple([sum(words[index :: stride // 8]) & U64 for index in layout.words])
    numbers: list[int] = []
    for field in layout.fields:
        by_slot = [_extract(raw, start, field) for start in range(0, len(raw), stride)]
        if field.aggregate != "sum":
            numbers.append(_combined(raw, stride, layout, field, by_slot))
        else:
            numbers += [sum(by_slot) & U64] if field.bits == 64 else by_slot
    return tuple(numbers)


def _combined(raw: bytes, stride: int, layout: Layout, field: Field, by_slot: Sequence[int]) -> int:
    """Return the cell of a field that is not summed over the slots."""
    starts = range(0, len(raw), stride)
    rank, ranks = field, by_slot
    if field.order:
        rank = layout.field(field.order)
        ranks = [_extract(raw, start, rank) for start in starts]
    if rank.signed:
        ranks = [signed(number, rank.bits) for number in ranks]
    used = [at for at, start in enumerate(starts) if any(raw[start : start + layout.value_size])]
    return over_cpus(field, by_slot, ranks, used)


def locate(field: Field) -> tuple[int, int, int, Literal["little", "big"]]:
    """Return the first byte of a field, its number of bytes, its shift to the right, and its byte order."""
    first, shift = divmod(field.bit_offset, 8)
    length = (shift + field.bits + 7) // 8
    order: Literal["little", "big"] = "big" if field.big_endian else sys.byteorder
    if order == "big":
        # BTF counts bits from the most significant one there.
        shift = 8 * length - shift - field.bits
    return first, length, shift, order


def _extract(raw: bytes, start: int, field: Field) -> int:
    """Return the bits of a field in the value that begins at *start*, as an unsigned number."""
    first, length, shift, order = locate(field)
    number = int.from_bytes(raw[start + first : start + first + length], order)
    return (number >> shift) & ((1 << field.bits) - 1)


Grow = Callable[[tuple[int, ...], "tuple[int, ...] | None"], tuple[int, ...]]
"""Return the growth of an entry's fields, given its cells now and before (`growth`)."""


def growth(
    now: tuple[int, ...], before: tuple[int, ...] | None, columns: tuple[Column, ...]
) -> tuple[int, ...]:
    """
    Return the growth of each field over all CPUs, modulo 2^64; from zero without *before*.

    Each cell's difference is taken in the cell's own width, so a 32-bit counter that wraps loses nothing.
    *before* already accounts for counters that fell (`resets`).
    """
    return grow_of(columns)(now, before)


@lru_cache(maxsize=64)
def grow_of(columns: tuple[Column, ...]) -> Grow:
    """Return `growth` for these columns: five times as fast if each field is one cell of 64 bits."""
    if all(column.bits == 64 and column.cells == 1 for column in columns):
        return _growth_of_words
    return partial(_growth, columns)


def _growth_of_words(now: tuple[int, ...], before: tuple[int, ...] | None) -> tuple[int, ...]:
    return now if before is None else tuple([(a - b) & U64 for a, b in zip(now, before, strict=True)])


def _growth(
    columns: tuple[Column, ...], now: tuple[int, ...], before: tuple[int, ...] | None
) -> tuple[int, ...]:
    start = 0
    by_field = []
    for column in columns:
        end = start + column.cells
        may_fall = column.signed or (before is not None and not column.monotonic)
        total = 0
        for index in range(start, end):
            difference = (now[index] - (before[index] if before else 0)) & ((1 << column.bits) - 1)
            total += signed(difference, column.bits) if may_fall else difference
        by_field.append(total & U64)
        start = end
    return tuple(by_field)


def values(now: tuple[int, ...], columns: tuple[Column, ...]) -> tuple[int, ...]:
    """Return the value of each field, added up over the CPUs, modulo 2^64."""
    return growth(now, None, columns)
