# SPDX-License-Identifier: Apache-2.0
"""The numbers in the values of many keys at once: what `percpu.cells` says of one, by numpy (pure)."""

import sys
from collections.abc import Sequence

import numpy as np

from sidecar.counts.columns.growth import U64Array
from sidecar.model import Field, Layout
from sidecar.schema import CPU_BYTES

_WHOLE = (8, 16, 32, 64)


def cells(raw: bytes, count: int, layout: Layout, slots: int) -> U64Array:
    """
    Return the cells of *count* keys, a column in each row.

    *raw* is the kernel's answer: for each key *slots* values, each padded to the same length.
    """
    widths = [1 if field.bits == 64 else slots for field in layout.fields]
    found = np.empty((sum(widths), count), np.uint64)
    if not count:
        return found
    step = len(raw) // (count * slots)
    if len(raw) != count * slots * step or step < layout.value_size:
        raise ValueError(f"{len(raw)} bytes are not {count * slots} slots of {layout.value_size} bytes")
    at = 0
    for field, width in zip(layout.fields, widths, strict=True):
        values = _extract(raw, count, slots, step, field)
        if width == slots:
            found[at : at + width] = values
        else:
            # One slot after the other is faster than along so short an axis.
            into = found[at]
            into[:] = values[0]
            for one in values[1:]:
                into += one
        at += width
    return found


def by_cpu(keys: bytes, size: int, cpus: Sequence[int]) -> bytes:
    """Return each key of *size* bytes once for each CPU, the CPU's number after it."""
    each = np.repeat(np.frombuffer(keys, f"V{size}"), len(cpus)).view(np.uint8).reshape(-1, size)
    numbers = np.array(cpus, f"=u{CPU_BYTES}").view(np.uint8).reshape(-1, CPU_BYTES)
    return np.hstack([each, np.tile(numbers, (len(keys) // size, 1))]).tobytes()


def _extract(raw: bytes, count: int, slots: int, step: int, field: Field) -> U64Array:
    """Return the bits of a field as unsigned numbers, a slot in each row."""
    first, shift = divmod(field.bit_offset, 8)
    shape, strides = (slots, count), (step, slots * step)
    if shift == 0 and field.bits in _WHOLE:
        order = ">" if field.big_endian else "="
        kind = np.dtype(f"{order}u{field.bits // 8}")
        return np.ndarray(shape, kind, raw, first, strides).astype(np.uint64, copy=False)
    length = (shift + field.bits + 7) // 8
    parts = [np.ndarray(shape, np.uint8, raw, first + at, strides).astype(np.uint64) for at in range(length)]
    if field.big_endian or sys.byteorder == "big":
        parts.reverse()
        # BTF counts bits from the most significant one there.
        shift = 8 * length - shift - field.bits
    number = parts[0] >> np.uint64(shift)
    for at, part in enumerate(parts[1:], 1):
        number |= part << np.uint64(8 * at - shift)
    return number & np.uint64((1 << field.bits) - 1)
