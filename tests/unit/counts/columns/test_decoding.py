# SPDX-License-Identifier: Apache-2.0
"""The attributes of many keys at once are those of each key, whatever its parts and decoders."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import Table, decoding
from sidecar.counts.columns.placing import Keys, labels_of, places_of
from sidecar.describe.decoders import DECODERS
from sidecar.describe.labels import build_label, build_value_label
from sidecar.describe.shape import Encoding, Part
from sidecar.describe.spec import KeySpec
from sidecar.errors import ConfigError
from sidecar.model import Layout
from sidecar.schema import Schema, View

SIZE = 24
ENCODINGS = [Encoding.UNSIGNED, Encoding.SIGNED, Encoding.BOOL, Encoding.STRING, Encoding.BYTES]


@st.composite
def parts(draw):
    """Draw a part of a key, mostly of whole bytes, and what to make of it."""
    bits = draw(st.sampled_from([8, 16, 32, 48, 64, 128]) | st.integers(1, 64))
    offset = 8 * draw(st.integers(0, SIZE - 17)) + (draw(st.integers(0, 7)) if bits % 8 else 0)
    names = draw(st.sampled_from([{}, {}, {1: "one", -2: "minus two"}]))
    part = Part("p", offset, bits, draw(st.sampled_from(ENCODINGS)), "t", draw(st.booleans()), names)
    regexp = draw(st.sampled_from([(), (), (), ("[0-4]", "x")]))
    return part, KeySpec("p", "a", draw(st.sampled_from(["", *DECODERS])), ((1, "one"),), regexp, at="f:1")


def no_name(index):
    if index > 3:
        raise OSError
    return f"eth{index}"


def labels(drawn, build):
    """Return a label for each part that its decoder can read."""
    found = []
    for part, spec in drawn:
        try:
            found.append(build([spec], [part]))
        except ConfigError:
            continue
    return found


def joined(each):
    """Return the label that has all parts of some."""
    return type(each[0])(tuple(part for label in each for part in label.parts)) if each else lambda _: ()


drawn_parts = st.lists(parts(), max_size=4)
rare = st.binary(min_size=SIZE, max_size=SIZE)
common = st.lists(st.sampled_from([0, 0, 0, 1, 65, 255]), min_size=SIZE, max_size=SIZE).map(bytes)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(drawn_parts, min_size=1, max_size=2),
    st.none() | parts(),
    st.lists(rare | common, min_size=1, max_size=9, unique=True),
    st.sampled_from([(), (("site", "x"),)]),
    st.sampled_from([None, "cpu"]),
    st.integers(1, 3),
)
def test_attributes_are_those_of_each_key(of_views, of_value, keys, fixed, cpu, at_once):
    """Of several views, with labels from the value, fixed attributes and the CPU."""
    each = [
        joined(labels(of_view, lambda spec, part: build_label(spec, part, "k", no_name)))
        for of_view in of_views
    ]
    value = labels(
        [of_value] if of_value else [], lambda spec, part: build_value_label(spec, part, SIZE, "v", no_name)
    )
    schema = Schema(
        "test",
        Layout(SIZE, ()),
        (),
        each[0],
        fixed,
        cpu,
        value_label=value[0] if value else None,
        views=tuple(View(f"@{at}", label) for at, label in enumerate(each)),
    )
    key_bytes = b"".join(key + (struct.pack("=I", at) if cpu else b"") for at, key in enumerate(keys))
    read = b"".join(value[0].read(key[::-1], 1) for key in keys) if value else b""
    views = np.full(len(keys), 3, np.int64).tobytes() if len(each) > 1 else b""
    key_size = len(key_bytes) // len(keys)
    places = places_of(Keys(Table(key_bytes, key_size, b""), read, views, b"", b""))
    which = np.arange(len(places))[::-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_AT_ONCE", at_once)
        found = list(decoding.encode_places(places, which, key_size, schema))

    label = labels_of(schema, key_size)
    assert found == [encode_attributes(label(places.name(at))) for at in which.tolist()]


@pytest.mark.parametrize(
    ("decoder", "bits", "encoding"),
    [
        ("integer", 8, Encoding.UNSIGNED),
        ("integer", 64, Encoding.SIGNED),
        ("integer_be", 32, Encoding.UNSIGNED),
        ("port", 16, Encoding.UNSIGNED),
        ("hex", 128, Encoding.BYTES),
        ("mac", 48, Encoding.BYTES),
        ("ipv4", 32, Encoding.UNSIGNED),
        ("ip", 32, Encoding.UNSIGNED),
    ],
)
def test_no_key_is_decoded_by_itself(decoder, bits, encoding):
    """Where the form of a part is known."""
    label = build_label([KeySpec("p", "a", decoder)], [Part("p", 8, bits, encoding, "t")], "k", no_name)
    keys = bytes(range(1 + bits // 8)) + bytes(1 + bits // 8) + b"\xff" * (1 + bits // 8)
    schema = Schema("test", Layout(8, ()), (), label)
    places = places_of(Keys(Table(keys, 1 + bits // 8, b""), b"", b"", b"", b""))
    expected = [encode_attributes(label(places.name(at))) for at in range(3)]
    (part,) = label.parts
    object.__setattr__(part, "decode", None)

    assert list(decoding.encode_places(places, np.arange(3), places.size, schema)) == expected


def test_each_value_of_a_short_part_is_decoded_once():
    """Such as an interface, whose name is looked for."""
    asked = []
    label = build_label(
        [KeySpec("p", "a", "ifname")],
        [Part("p", 0, 32, Encoding.UNSIGNED, "t")],
        "k",
        lambda index: asked.append(index) or f"eth{index}",
    )
    (part,) = label.parts
    decode, decoded = part.decode, []
    object.__setattr__(part, "decode", lambda raw: decoded.append(raw) or decode(raw))
    keys = b"".join(struct.pack("=IB", at % 3, at) for at in range(9))
    places = places_of(Keys(Table(keys, 5, b""), b"", b"", b"", b""))

    found = list(decoding.encode_places(places, np.arange(9), 5, Schema("test", Layout(8, ()), (), label)))

    assert found == [encode_attributes((("a", f"eth{at % 3}"),)) for at in range(9)]
    assert len(decoded) == 3
