# SPDX-License-Identifier: Apache-2.0
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.counts.cells import cells, growth
from sidecar.model import Column, Field, Layout
from sidecar.u64 import U64, signed

TWO = Layout(16, (Field("packets", 0), Field("bytes", 64)))


def test_each_field_is_summed_over_all_slots():
    """Every slot counts once, in its own field."""
    raw = struct.pack("=6Q", 1, 100, 20, 3000, 300, 50000)

    assert cells(raw, TWO, 3) == (321, 53100)


def test_padding_between_slots_is_not_counted():
    """The bytes after the value in its slot are no counter."""
    layout = Layout(12, (Field("packets", 0), Field("drops", 64, 32)))
    raw = struct.pack("=QII", 5, 7, 0xFFFFFFFF) * 2

    assert cells(raw, layout, 2) == (10, 7, 7)


def test_fields_of_any_width_and_offset_are_read():
    """Bitfields as BTF counts them, network order, and fields that are not aligned."""
    layout = Layout(
        16,
        (
            Field("low", 0, 3),
            Field("across", 3, 11),
            Field("port", 16, 16, big_endian=True),
            Field("packed", 40, 64),
            Field("signed", 104, 16, signed=True),
        ),
    )
    raw = struct.pack("<HHBQhB", 5 | 1234 << 3, 0x5000, 0xEE, 2**60 + 3, -2, 0xFF)

    assert cells(raw, layout, 1) == (5, 1234, 0x50, 2**60 + 3, 0xFFFE)
    assert signed(0xFFFE, 16) == -2


def test_a_sum_past_two_to_the_64_wraps_like_the_kernel():
    """Counters are modulo 2^64, as in the kernel."""
    assert cells(struct.pack("=4Q", U64, 0, 3, 0), TWO, 2) == (2, 0)


@pytest.mark.parametrize("raw", [b"", bytes(15), bytes(31), bytes(33)])
def test_an_answer_of_another_length_is_refused(raw):
    """A short or long answer is an error, never a smaller count."""
    with pytest.raises(ValueError, match="slots"):
        cells(raw, TWO, 2)


@given(st.lists(st.lists(st.integers(0, U64), min_size=2, max_size=2), min_size=1, max_size=512))
def test_summing_matches_python_integers(slots):
    """For any number of CPUs and any values the sums are those of exact integers, modulo 2^64."""
    raw = b"".join(struct.pack("=2Q", *slot) for slot in slots)

    assert cells(raw, TWO, len(slots)) == tuple(sum(column) & U64 for column in zip(*slots, strict=True))


words = st.integers(0, U64)


@given(st.lists(st.tuples(words, words, st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_fields_of_64_bits_grow_the_same_alone_and_beside_a_narrow_field(cells):
    """Alone they take a faster path, with the same result."""
    now, before, falls, monotonic = zip(*cells, strict=True)
    columns = tuple(
        Column(f"field {at}", 64, *kind) for at, kind in enumerate(zip(falls, monotonic, strict=True))
    )
    beside = (*columns, Column("narrow", 8))

    assert growth(now, before, columns) == growth((*now, 1), (*before, 0), beside)[:-1]
    assert growth(now, None, columns) == growth((*now, 1), None, beside)[:-1]
