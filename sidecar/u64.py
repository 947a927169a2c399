# SPDX-License-Identifier: Apache-2.0
"""Unsigned 64-bit arithmetic, modulo 2^64, as in the kernel (pure)."""

U64 = (1 << 64) - 1
"""The largest u64, and the mask that wraps a sum."""

LARGEST_COUNT = (1 << 63) - 1
"""The largest integer that OTLP carries (`metrics.proto`, `as_int`, sfixed64)."""


def added(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Return the element-wise sums, modulo 2^64."""
    return tuple([(a + b) & U64 for a, b in zip(left, right, strict=True)])


def signed(number: int, bits: int = 64) -> int:
    """Return the value of *bits* bits in two's complement."""
    return number - (1 << bits) if number >> (bits - 1) else number
