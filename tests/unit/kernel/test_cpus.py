# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar.kernel.cpus import parse_cpu_list, stride


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n", [0]),
        ("0-1\n", [0, 1]),
        ("0-319", range(320)),
        ("0,2-3", [0, 2, 3]),
        ("0-3,8-11,64", [0, 1, 2, 3, 8, 9, 10, 11, 64]),
        ("1,3,5-6", [1, 3, 5, 6]),
    ],
)
def test_a_cpu_list_names_the_cpus_of_the_mask(text, expected):
    """All of them, even if the mask has holes."""
    assert parse_cpu_list(text) == tuple(expected)


@pytest.mark.parametrize(
    "text", ["", "\n", "0-", "-3", "a", "3-1", "0,0", "2,1", "0-3,2", "0x1", "٣", "0--2", "1,"]
)
def test_a_malformed_cpu_list_is_refused(text):
    """A list that the kernel would never print is refused, not guessed at."""
    with pytest.raises(ValueError, match="CPU list"):
        parse_cpu_list(text)


@pytest.mark.parametrize(("size", "expected"), [(1, 8), (4, 8), (8, 8), (12, 16), (64, 64), (65, 72)])
def test_the_stride_pads_a_value_to_eight_bytes(size, expected):
    """The slots of two CPUs are a multiple of 8 bytes apart."""
    assert stride(size) == expected
