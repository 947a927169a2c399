# SPDX-License-Identifier: Apache-2.0
"""Sum the per-CPU slots of a map's value (pure)."""

import sys

from sidecar.model import Layout

U64 = (1 << 64) - 1


def parse_cpu_list(text: str) -> int:
    """
    Return how many CPUs a kernel CPU list such as `0-3` names.

    The kernel copies one slot for each CPU of its possible mask, in ascending order
    (kernel/bpf/arraymap.c, `bpf_percpu_array_copy`), so a mask with holes, `0,2-3`, means three slots.

    Raises:
        ValueError: The text is no CPU list.

    """
    count = 0
    previous = -1
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not first.isascii() or not first.isdigit() or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(f"not a CPU list: {text.strip()!r}")
        low, high = int(first), int(last or first)
        if low <= previous or high < low:
            raise ValueError(f"not an ascending CPU list: {text.strip()!r}")
        count += high - low + 1
        previous = high
    return count


def stride(value_size: int) -> int:
    """Return the bytes between two CPUs' slots: the value padded to 8 (kernel: `round_up(value_size, 8)`)."""
    return (value_size + 7) & ~7


def sum_slots(raw: bytes, layout: Layout, slots: int) -> tuple[int, ...]:
    """
    Add each field over the slots, modulo 2^64 as the kernel's own counters wrap.

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
    return tuple(
        sum(
            int.from_bytes(raw[at : at + field.size], sys.byteorder)
            for at in range(field.offset, len(raw), step)
        )
        & U64
        for field in layout.fields
    )
