# SPDX-License-Identifier: Apache-2.0
"""Attributes of several parts of a key, or of a part of its text."""

import struct

import pytest

from sidecar.describe.labels import build_label, keeps_keys_distinct
from sidecar.describe.shape import Encoding, Part
from sidecar.describe.spec import KeySpec
from sidecar.errors import ConfigError


def word(name, offset, bits=32, **more):
    return Part(name, offset, bits, Encoding.UNSIGNED, f"__u{bits}", **more)


WORDS = [word(f"saddr.{at}", 32 * at) for at in range(4)]
KEY = [*WORDS, word("hole.a", 128, 8), word("hole.b", 160), Part("comm", 192, 128, Encoding.STRING, "char")]
RAW = bytes.fromhex("20010db8" + "00" * 11 + "01") + struct.pack("=BxxxI", 1, 2) + b"/usr/bin/nginx\0\0"


def attributes(*key):
    return build_label([KeySpec(*each, at="f:3") for each in key], KEY, "the key of map m", str)(RAW)


def test_an_array_of_words_is_decoded_as_its_bytes():
    """The four words of an IPv6 address, in the order of memory."""
    assert attributes(("saddr", "a", "ipv6")) == (("a", "2001:db8::1"),)
    assert attributes(("saddr", "a")) == (("a", "20010db8" + "00" * 11 + "01"),)
    assert attributes(("saddr.0", "a", "hex")) == (("a", "20010db8"),)


def test_members_with_a_hole_between_them_have_no_bytes_of_their_own():
    with pytest.raises(ConfigError, match="f:3: field 'hole': the key of map m has no such field"):
        attributes(("hole", "a"))


def test_matches_of_a_regular_expression_are_replaced_in_the_text():
    """Whatever decoder yields it; text without a match stays."""
    assert attributes(("comm", "a", "", (), ("^/usr/bin/(.*)", r"\1"))) == (("a", "nginx"),)
    assert attributes(("comm", "a", "", (), ("^/sbin/", ""))) == (("a", "/usr/bin/nginx"),)
    assert attributes(("saddr.3", "a", "integer_be", (), ("1", "one"))) == (("a", "one"),)


def test_keys_are_distinct_if_the_whole_array_is_an_attribute():
    """But not if text is replaced in it."""
    rest = [KeySpec("hole.a", "x"), KeySpec("hole.b", "y"), KeySpec("comm", "z")]

    assert keeps_keys_distinct([KeySpec("saddr", "a", "ipv6"), *rest], KEY)
    assert not keeps_keys_distinct([KeySpec("saddr", "a", "ipv6", (), ("::", ":")), *rest], KEY)
    assert not keeps_keys_distinct(rest, KEY)
