# SPDX-License-Identifier: Apache-2.0
"""Unsigned 64-bit arithmetic, modulo 2^64 as in the kernel (pure)."""

U64 = (1 << 64) - 1
"""The largest u64, and the mask that wraps a sum."""

LARGEST_COUNT = (1 << 63) - 1
"""The largest integer that OTLP carries (`metrics.proto`, `as_int`, sfixed64)."""


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sums, modulo 2^64 as the kernel's counters."""
    return tuple([(a + b) & U64 for a, b in zip(one, other, strict=True)])


def signed(number: int, bits: int = 64) -> int:
    """Return what *bits* say in two's complement."""
    return number - (1 << bits) if number >> (bits - 1) else number
