# SPDX-License-Identifier: Apache-2.0
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Field, Layout
from sidecar.percpu import U64, parse_cpu_list, stride, sum_slots

TWO = Layout(16, (Field("packets", 0), Field("bytes", 8)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0\n", 1), ("0-1\n", 2), ("0-319", 320), ("0,2-3", 3), ("0-3,8-11,64", 9), ("1,3,5-6", 4)],
)
def test_cpu_list_counts_the_mask(text, expected):
    """A possible mask counts its CPUs, also when it has holes."""
    assert parse_cpu_list(text) == expected


@pytest.mark.parametrize(
    "text", ["", "\n", "0-", "-3", "a", "3-1", "0,0", "2,1", "0-3,2", "0x1", "٣", "0--2", "1,"]
)
def test_cpu_list_refuses_what_is_none(text):
    """A list that the kernel would never print is refused, not guessed at."""
    with pytest.raises(ValueError, match="CPU list"):
        parse_cpu_list(text)


@pytest.mark.parametrize(("size", "expected"), [(1, 8), (4, 8), (8, 8), (12, 16), (64, 64), (65, 72)])
def test_stride_pads_to_eight_bytes(size, expected):
    """Two CPUs' slots lie a multiple of 8 bytes apart."""
    assert stride(size) == expected


def test_each_field_is_summed_over_all_slots():
    """Every slot counts once, in its own field."""
    raw = struct.pack("=6Q", 1, 100, 20, 3000, 300, 50000)

    assert sum_slots(raw, TWO, 3) == (321, 53100)


def test_padding_between_slots_is_not_counted():
    """What lies past the value in its padded slot is no counter."""
    layout = Layout(12, (Field("packets", 0), Field("drops", 8, size=4)))
    raw = struct.pack("=QII", 5, 7, 0xFFFFFFFF) * 2

    assert sum_slots(raw, layout, 2) == (10, 14)


def test_a_sum_past_two_to_the_64_wraps_like_the_kernel():
    """Counters are modulo 2^64, as in the kernel."""
    assert sum_slots(struct.pack("=4Q", U64, 0, 3, 0), TWO, 2) == (2, 0)


@pytest.mark.parametrize("raw", [b"", bytes(15), bytes(31), bytes(33)])
def test_an_answer_of_another_length_is_refused(raw):
    """A short or long answer is an error, never a smaller count."""
    with pytest.raises(ValueError, match="slots"):
        sum_slots(raw, TWO, 2)


@given(st.lists(st.lists(st.integers(0, U64), min_size=2, max_size=2), min_size=1, max_size=512))
def test_summing_matches_python_integers(slots):
    """For any number of CPUs and any values the sums are those of exact integers, modulo 2^64."""
    raw = b"".join(struct.pack("=2Q", *slot) for slot in slots)

    assert sum_slots(raw, TWO, len(slots)) == tuple(sum(column) & U64 for column in zip(*slots, strict=True))
