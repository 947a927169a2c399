# SPDX-License-Identifier: Apache-2.0
"""The numbers in a map's values: over the possible CPUs, in each field's own width (pure)."""

import sys
from functools import lru_cache
from typing import Literal

from sidecar.model import Column, Field, Layout
from sidecar.u64 import U64, signed


def cells(raw: bytes, layout: Layout, slots: int) -> tuple[int, ...]:
    """
    Return what the fields hold: 64 bits added up over the slots, modulo 2^64; narrower ones slot by slot.

    Args:
        raw: The kernel's answer: *slots* values, each padded to the same length.
        layout: Where the fields lie.
        slots: Number of possible CPUs, or 1 for a map that is not per-CPU.

    Raises:
        ValueError: *raw* has another length.

    """
    step, rest = divmod(len(raw), slots)
    if rest or step < layout.value_size:
        raise ValueError(f"{len(raw)} bytes are not {slots} slots of {layout.value_size} bytes")
    if layout.words is not None and step % 8 == 0:
        numbers = memoryview(raw).cast("Q").tolist()
        return tuple([sum(numbers[word :: step // 8]) & U64 for word in layout.words])
    found: list[int] = []
    for field in layout.fields:
        values = [_extract(raw, at, field) for at in range(0, len(raw), step)]
        found += [sum(values) & U64] if field.bits == 64 else values
    return tuple(found)


def _extract(raw: bytes, at: int, field: Field) -> int:
    """Return the bits of a field in the value that begins at *at*, as an unsigned number."""
    first, shift = divmod(field.bit_offset, 8)
    length = (shift + field.bits + 7) // 8
    order: Literal["little", "big"] = "big" if field.big_endian else sys.byteorder
    number = int.from_bytes(raw[at + first : at + first + length], order)
    if order == "big":
        # BTF counts bits from the most significant one there.
        shift = 8 * length - shift - field.bits
    return (number >> shift) & ((1 << field.bits) - 1)


@lru_cache(maxsize=64)
def _is_plain(columns: tuple[Column, ...]) -> bool:
    """Return whether each cell is a field of its own, of the width in which sums are taken."""
    return all(column.bits == 64 and column.cells == 1 for column in columns)


def growth(
    now: tuple[int, ...], before: tuple[int, ...] | None, columns: tuple[Column, ...]
) -> tuple[int, ...]:
    """
    Return how much each field grew, over all CPUs, modulo 2^64; without *before*, from zero.

    Each cell's difference is taken in the cell's own width, so that a counter of 32 bits that wraps loses
    nothing. Whether a counter fell was asked before (`resets`): here it grew.
    """
    if _is_plain(columns):
        # The general way says the same, five times as slowly.
        return now if before is None else tuple([(a - b) & U64 for a, b in zip(now, before, strict=True)])
    at = 0
    grown = []
    for column in columns:
        end = at + column.cells
        difference = 0
        for place in range(at, end):
            was = before[place] if before else 0
            step = (now[place] - was) & ((1 << column.bits) - 1)
            falls = column.signed or (before is not None and not column.monotonic)
            difference += signed(step, column.bits) if falls else step
        grown.append(difference & U64)
        at = end
    return tuple(grown)


def values(now: tuple[int, ...], columns: tuple[Column, ...]) -> tuple[int, ...]:
    """Return what each field holds, added up over the CPUs, modulo 2^64."""
    return growth(now, None, columns)
