# SPDX-License-Identifier: Apache-2.0
"""What names and types suggest: as docs/metrics.md says, and the same in a written configuration."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.commands.discover import write_config
from sidecar.commands.discover.model import FoundMap, Inventory
from sidecar.describe import guesses
from sidecar.describe.file import sources
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError
from sidecar.kernel.syscall import MapInfo
from tests.examples import examples

HASH = 1
DOCUMENT = Path(__file__).parents[3] / "docs/metrics.md"
TABLE = DOCUMENT.read_text().partition("| a part of the key | of type | becomes |\n|---|---|---|\n")[2]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.partition("\n\n")[0].splitlines()]
TYPES = {
    "__be16": (Encoding.UNSIGNED, 16, True),
    "__be32": (Encoding.UNSIGNED, 32, True),
    "__u8": (Encoding.UNSIGNED, 8, False),
    "__u16": (Encoding.UNSIGNED, 16, False),
    "__u32": (Encoding.UNSIGNED, 32, False),
    "__u64": (Encoding.UNSIGNED, 64, False),
    "__u8[6]": (Encoding.BYTES, 48, False),
    "__u8[16]": (Encoding.BYTES, 128, False),
    "char[16]": (Encoding.STRING, 128, False),
}


def parts_of(name, kind, offset=0):
    """The parts of a member: an array of words has one for each."""
    word, _, count = kind.partition("[")
    if kind in TYPES:
        encoding, bits, big_endian = TYPES[kind]
        return [Part(name, offset, bits, encoding, kind, big_endian=big_endian)]
    encoding, bits, big_endian = TYPES[word]
    return [
        Part(f"{name}.{at}", offset + bits * at, bits, encoding, word, big_endian=big_endian)
        for at in range(int(count.rstrip("]")))
    ]


@pytest.mark.parametrize(
    ("name", "kind", "becomes"),
    [
        (name, kind, becomes)
        for names, kinds, becomes in ROWS
        for name in re.findall("`([^`]+)`", names)
        for kind in re.findall("`([^`]+)`", kinds)
    ],
)
def test_the_table_in_the_docs_is_true(name, kind, becomes):
    other = Part("zone", 512, 32, Encoding.UNSIGNED, "__u32")
    parts = guesses.key_parts([*parts_of(name.replace("*", "x"), kind), other])
    decoder = re.findall("`([^`]+)`", becomes)
    assert [guesses.decoder_of(part) for part in parts] == [*decoder, "integer"]


def test_padding_alone_stays():
    """A key must have something that tells its series apart."""
    (part,) = parts_of("pad", "__u32")
    assert guesses.key_parts([part]) == [part]


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        *(("packets", "{packet}"), ("rx_pkts", "{packet}"), ("frames", "{packet}"), ("tx_bytes", "By")),
        *(("run_time_ns", "ns"), ("busy.usecs", "us"), ("x", ""), ("bonus", "")),
    ],
)
def test_a_unit_is_guessed_by_name(field, unit):
    assert guesses.unit_of(field) == unit


NAMES = ("saddr", "daddr", "src_ip", "mac", "sport", "proto", "ifindex", "action", "pad", "reserved", "zone")
NUMBERS = (
    "packets",
    "bytes",
    "last_seen",
    "lifetime",
    "state",
    "flags",
    "mean",
    "run_time_ns",
    "tokens",
    "x",
)


@st.composite
def shapes(draw):
    """A key and a value under names that mean something, and some that do not."""
    parts, offset = {"key": [], "value": []}, {"key": 0, "value": 0}
    for place, names, kinds in (
        ("key", NAMES, [*TYPES, "__be32[4]", "__u32[4]"]),
        ("value", NUMBERS, list(TYPES)[:6]),
    ):
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)):
            found = parts_of(name, draw(st.sampled_from(kinds)), offset[place])
            parts[place] += found
            offset[place] += sum(part.bits for part in found)
    return Shape(*(tuple(each) for each in parts.values()), *(bits // 8 for bits in offset.values()))


@given(shape=shapes(), raw=st.binary(min_size=100, max_size=100))
@examples(100)
def test_a_written_configuration_yields_what_none_yields(tmp_path_factory, shape, raw):
    """Whoever starts to edit it starts from the same series."""
    info = MapInfo(30, HASH, "flows", shape.key_size, shape.value_size, 100, 1, 1, 2)
    found = FoundMap(info, 3, shape=shape, pins=(Path("/sys/fs/bpf/flows"),))
    file = tmp_path_factory.mktemp("written") / "flows.yaml"
    try:
        without = resolve(SourceSpec(MapRef("pin", "/sys/fs/bpf/flows")), info, shape)
    except SidecarError:
        return  # no number: the file has gauges, which need a choice
    file.write_text(write_config.for_map(Inventory((), (), (found,)), "30"))
    (spec,) = sources.load(file)
    written = resolve(spec, info, shape)

    assert written.instruments == without.instruments
    assert written.layout == without.layout
    key = raw[: shape.key_size]
    assert written.attributes_of(key) == without.attributes_of(key)
