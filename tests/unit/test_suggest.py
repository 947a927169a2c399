# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar.suggest import did_you_mean, nearest, suggest


@pytest.mark.parametrize(
    ("word", "expected"), [("etho0", "eth0"), ("ETH1", "eth1"), ("wlan7", None), ("", None)]
)
def test_the_nearest_name_is_similar_in_any_case(word, expected):
    """None is better than a name that has nothing to do with it."""
    assert nearest(word, ["eth0", "eth1", "lo"]) == expected


def test_a_few_names_are_listed_and_many_are_not():
    """A remedy is one line."""
    assert suggest("b", ["aa", "bb"]) == "did you mean 'bb'? It is one of aa, bb"
    assert suggest("x", map(str, range(14))).endswith("10, 11 and 2 more")
    assert suggest("x", []) == "leave it out"
    assert did_you_mean("etho", ["eth0"], "look") == "did you mean 'eth0'? look"
    assert did_you_mean("x", ["eth0"], "look") == "look"
