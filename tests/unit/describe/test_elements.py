# SPDX-License-Identifier: Apache-2.0
"""A field with `*` is a metric of each element of an array, with its index as an attribute."""

import pytest

from sidecar.describe.clashes import clashes
from sidecar.describe.elements import MOST_ELEMENTS
from sidecar.describe.instruments import build_instruments
from sidecar.describe.shape import Elements, Encoding, Part
from sidecar.describe.spec import KeySpec, MapRef, MetricSpec, SourceSpec
from sidecar.errors import ConfigError


def number(name, offset, bits=64, **more):
    return Part(name, offset, bits, Encoding.UNSIGNED, f"__u{bits}", **more)


def array(name, offset, parts, bits, count):
    """An array that was not expanded into parts."""
    elements = Elements(tuple(parts), bits, count)
    return Part(name, offset, bits * count, Encoding.OTHER, "[]", refused="large", elements=elements)


QUEUE = [number("packets", 0), number("drops", 64, 32)]
GRID = [number(str(index), 64 * index) for index in range(3)]
VALUE = [
    number("packets", 0),
    number("slots.0", 64),
    number("slots.1", 128),
    number("rx.0.bytes", 192, aliases=("tx.0.octets",)),
    number("rx.1.bytes", 256, aliases=("tx.1.octets",)),
    array("queues", 320, QUEUE, 128, 2000),
    array("grid", 320 + 128 * 2000, GRID, 192, 1000),
    array("ports", 1 << 20, [number("", 0)], 64, 65536),
]


def build(field, *, parts=VALUE, **more):
    metric = MetricSpec("m", field, at="f:3", **more)
    return build_instruments((metric,), parts, "map m", summed=False)


def points(field, **more):
    return [(each.field, each.attributes) for each in build(field, **more)[1]]


def test_the_index_is_an_attribute_called_like_the_array():
    """Or as the user says, after the metric's own attributes."""
    assert points("slots.*") == [("slots.0", (("slots", 0),)), ("slots.1", (("slots", 1),))]
    named = points("slots.*", attributes=(("a", "b"),), index=(KeySpec("*", "slot"),))
    assert named[1] == ("slots.1", (("a", "b"), ("slot", 1)))
    table = KeySpec("*", "direction", "table", ((0, "in"), (1, "out")))
    assert [attributes for _, attributes in points("rx.*.bytes", index=(table,))] == [
        (("direction", "in"),),
        (("direction", "out"),),
    ]
    assert points("tx.*.octets")[0] == ("rx.0.bytes", (("tx", 0),))


def test_elements_of_an_array_that_is_too_large_to_be_expanded_are_found():
    """Of structs, and of several dimensions, each at its offset."""
    fields, instruments, _ = build("queues.*.drops")
    assert len(fields) == 2000
    assert (fields[1400].name, fields[1400].bit_offset) == ("queues.1400.drops", 320 + 128 * 1400 + 64)
    assert instruments[1400].attributes == (("queues", 1400),)

    fields, instruments, _ = build("grid.*.*")
    assert len(instruments) == 3000
    assert (fields[-1].name, fields[-1].bit_offset) == ("grid.999.2", VALUE[6].bit_offset + 192 * 999 + 128)
    assert instruments[-1].attributes == (("grid", 999), ("grid_2", 2))
    assert points("grid.7.*") == [(f"grid.7.{index}", (("grid.7", index),)) for index in range(3)]


@pytest.mark.parametrize(
    ("field", "more", "message"),
    [
        ("packets.*", {}, r"no such elements: its arrays are slots\.\*, rx\.\*\.bytes, queues\.\*\.packets"),
        ("slots*", {}, "no such field"),
        ("ports.*", {}, f"more than {MOST_ELEMENTS:,} elements, the most of one metric: .*`ports.0`"),
        ("slots.*", {"index": (KeySpec("*", "mac", "mac"),)}, "it needs 6 or 8 bytes"),
        (
            "slots.*",
            {"index": (KeySpec("*", "d", "table", ((0, "in"), (1, "in"))),)},
            "slots.0 and slots.1 would have the same attributes",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(field, more, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(field, **more)
    assert str(error.value).startswith("f:3: ")


def test_two_metrics_that_would_write_one_stream_are_refused():
    """The attribute of the index tells them apart, or does not."""

    def found(*metrics, key=()):
        return [str(error) for error in clashes(SourceSpec(MapRef("id", "1"), key=key, metrics=metrics))]

    assert not found(MetricSpec("m", "rx.*"), MetricSpec("m", "tx.*"))
    assert found(
        MetricSpec("m", "rx.*", index=(KeySpec("*", "q"),)),
        MetricSpec("m", "tx.*", index=(KeySpec("*", "q"),)),
    )
    assert found(MetricSpec("m", "rx.*"), key=(KeySpec("rx", "rx"),))
    assert found(MetricSpec("m", "rx.*", index=(KeySpec("*", "job"),)))
    assert not found(MetricSpec("m", "job.*"))
