# SPDX-License-Identifier: Apache-2.0
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.describe.globs import filled, is_glob, matched

TEXTS = st.text("ab[]!^-*?\\", max_size=8)


@given(TEXTS, TEXTS)
def test_a_pattern_matches_as_in_a_shell(pattern, text):
    """What has no slash is matched as `fnmatch` does, whatever is in it."""
    if "[" not in pattern:  # as fnmatch reads some brackets that a shell reads otherwise
        assert (matched(pattern, text) is not None) == fnmatchcase(text, pattern)
    assert matched(pattern, text) is None or is_glob(pattern) or pattern == text


@pytest.mark.parametrize(
    ("pattern", "text", "groups"),
    [
        ("/b/*/stats", "/b/a/stats", ("a",)),
        ("/b/*/stats", "/b/a/c/stats", None),
        ("/b/*/*_map", "/b/a/x_y_map", ("a", "x_y")),
        ("st?ts_[ab]", "stats_b", ("a", "b")),
        ("st?ts_[!ab]", "stats_b", None),
        ("m[[]x]", "m[x]", ("[",)),
        ("m[]]", "m]", ("]",)),
    ],
)
def test_wildcards_never_match_a_slash_and_are_numbered(pattern, text, groups):
    """`{0}` is the whole."""
    assert matched(pattern, text) == (None if groups is None else (text, *groups))


def test_what_wildcards_matched_becomes_text():
    """Also if a name is no UTF-8; numbers stay."""
    attributes = (("a", "x-{1}"), ("b", "{0}"), ("c", 5), ("d", "plain"))

    assert filled(attributes, ("/p/\udcff", "\udcff")) == (
        ("a", "x-\\xff"),
        ("b", "/p/\\xff"),
        ("c", 5),
        ("d", "plain"),
    )
