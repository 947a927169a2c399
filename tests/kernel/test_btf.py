# SPDX-License-Identifier: Apache-2.0
"""Shapes of maps by the BTF that clang emits; bpftool's dump of the same bytes is the oracle."""

import json
import random
import subprocess
import sys

import pytest

from demo.bpf_commands import map_update, prog_test_run
from sidecar.describe.kernel_btf import shape_by_btf
from sidecar.describe.shape import Encoding, Part
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from tests.kernel.compiled import XDP_TOOLS, Loaded

HASHES = ("packed", "padded", "bits", "nested", "unions", "numbers", "flow", "four", "locked", "bare")


def shape(map_fd):
    return shape_by_btf(bpf.map_info(map_fd))


def number(part, raw):
    """Take a part out of the bytes, as the machine's own integer whatever its byte order is said to be."""
    whole = int.from_bytes(raw, sys.byteorder)
    shift = part.bit_offset if sys.byteorder == "little" else 8 * len(raw) - part.bit_offset - part.bits
    return whole >> shift & (1 << part.bits) - 1


def dump(map_fd):
    """Return what bpftool says of a map's entries, objects as pairs so that no name hides another."""
    command = ["bpftool", "map", "dump", "-j", "id", str(bpf.map_info(map_fd).id)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    entries = json.loads(answer, object_pairs_hook=tuple)
    return [dict(dict(entry)["formatted"]) for entry in entries]


def leaves(tree, path=""):
    """Flatten bpftool's answer to dotted paths; anonymous members are named by nothing."""
    if isinstance(tree, tuple | list):
        pairs = tree if isinstance(tree, tuple) else enumerate(tree)
        for name, below in pairs:
            yield from leaves(below, f"{path}.{name}".strip(".") if name != "" else path)
    else:
        yield path, tree


def named_as_bpftool_does(parts, raw, root):
    """Return (path, width, number) of each leaf; bytes one by one, and each name of a union's member."""
    for part in parts:
        name = "" if part.name == root else part.name.removeprefix(f"{root}.")
        if part.encoding in (Encoding.BYTES, Encoding.STRING):
            inside = f"{name}.in6_u.u6_addr8" if part.type == "struct in6_addr" else name
            octets = raw[part.bit_offset // 8 : (part.bit_offset + part.bits) // 8]
            yield from ((f"{inside}.{at}".strip("."), 8, octet) for at, octet in enumerate(octets))
        elif part.encoding is not Encoding.OTHER:
            value = number(part, raw)
            # bpftool says `true` of any bool that is not 0.
            value = int(value != 0) if part.encoding is Encoding.BOOL else value
            yield from ((path, part.bits, value) for path in (name, *part.aliases))


def check(parts, raw, formatted, root):
    """Assert that the parts are what bpftool shows, bit for bit, and that it shows nothing else."""
    # Bitfields are hexadecimal there, and all other signs are seen by the width.
    shown = {path: int(leaf, 16) if isinstance(leaf, str) else leaf for path, leaf in leaves(formatted)}
    ours = list(named_as_bpftool_does(parts, raw, root))
    assert {path: value for path, _, value in ours} == {
        path: shown[path] & (1 << bits) - 1 for path, bits, _ in ours
    }
    rest = set(shown) - {path for path, _, _ in ours}
    assert {path for path in rest if "u6_addr" not in path and path != "lock.val"} == set()


@pytest.mark.parametrize("name", HASHES)
def test_random_bytes_are_read_as_bpftool_reads_them(odd, name):
    """Each part of a key and value is the number that bpftool shows, and none is missing."""
    map_fd = odd.maps[f"{name}_map"]
    info, layout = bpf.map_info(map_fd), shape(map_fd)
    chance = random.Random(name)  # noqa: S311
    for _ in range(8):
        map_update(map_fd, chance.randbytes(info.key_size), chance.randbytes(info.value_size))
    keys = []
    while (key := bpf.map_next_key(map_fd, keys[-1] if keys else None, info.key_size)) is not None:
        keys.append(key)
    entries = dump(map_fd)
    assert len(entries) == len(keys) > 0
    for key, entry in zip(keys, entries, strict=True):
        check(layout.key, key, entry["key"], "key")
        check(layout.value, bpf.map_lookup(map_fd, key, info.value_size), entry["value"], "value")


def read(map_fd, key):
    """Return the value's parts as numbers, signs and byte orders heeded."""
    info = bpf.map_info(map_fd)
    raw = bpf.map_lookup(map_fd, key, info.value_size)
    return {part.name: interpreted(part, number(part, raw)) for part in shape(map_fd).value}


def interpreted(part, value):
    if part.big_endian:
        value = int.from_bytes(value.to_bytes(part.bits // 8, sys.byteorder), "big")
    signed = part.encoding is Encoding.SIGNED or (part.encoding is Encoding.ENUM and min(part.names) < 0)
    return value - (1 << part.bits) if signed and value >> (part.bits - 1) else value


def test_the_numbers_that_a_program_assigns_are_read(odd):
    """Bit-fields, packed members, globals and a big-endian key hold what the C source assigns."""
    key = bytes([17, 10, 0, 0, 1, 0, 53])
    before = read(odd.maps["odd.bss"], bytes(4))
    prog_test_run(odd.programs["fill"], bytes(64))
    assert read(odd.maps["bits_map"], (7).to_bytes(8, sys.byteorder)) == {
        "a": 5,
        "b": 0x1ABC,
        "c": -37,
        "d": 0x123456789A,
        "e": -1,
        "f": 200,
        "g": 0x155,
        "h": 0x2BCDEF01234567,
    }
    assert read(odd.maps["packed_map"], key) == {"a": 255, "b": 1 << 63, "c": 0xFEDC, "d": -2}
    key_parts = shape(odd.maps["packed_map"]).key
    assert {part.name: interpreted(part, number(part, key)) for part in key_parts} == {
        "protocol": 17,
        "address": 0x0A000001,
        "port": 53,
    }
    after = read(odd.maps["odd.bss"], bytes(4))
    assert {name: after[name] - before[name] for name in after} == {"seen": 3, "balance": -4}
    assert shape(odd.maps["odd.bss"]).key == ()


def test_types_and_encodings(odd):
    """Signs, byte orders, bools, enums and names are those of the C source."""
    parts = shape(odd.maps["numbers_map"]).value
    assert [(part.name, part.type, part.encoding, part.big_endian) for part in parts] == [
        ("u8", "__u8", Encoding.UNSIGNED, False),
        ("s8", "__s8", Encoding.SIGNED, False),
        ("u16", "__u16", Encoding.UNSIGNED, False),
        ("s16", "__s16", Encoding.SIGNED, False),
        ("u32", "__u32", Encoding.UNSIGNED, False),
        ("s32", "__s32", Encoding.SIGNED, False),
        ("u64", "__u64", Encoding.UNSIGNED, False),
        ("s64", "__s64", Encoding.SIGNED, False),
        ("be16", "__be16", Encoding.UNSIGNED, True),
        ("be32", "__be32", Encoding.UNSIGNED, True),
        ("be64", "__be64", Encoding.UNSIGNED, True),
        ("letter", "char", Encoding.SIGNED, False),
        ("yes", "_Bool", Encoding.BOOL, False),
        ("verdict", "enum verdict", Encoding.ENUM, False),
        ("wide", "enum wide", Encoding.ENUM, False),
        ("plain_long", "long", Encoding.SIGNED, False),
        ("pointer", "void *", Encoding.POINTER, False),
    ]
    names = {part.name: part.names for part in parts}
    assert names["verdict"] == {-1: "VERDICT_BAD", 0: "VERDICT_NONE", 1: "VERDICT_GOOD"}
    assert names["wide"] == {0: "WIDE_LOW", 1 << 40: "WIDE_HIGH"}


def test_a_key_of_many_types(odd):
    """An address, an array of bytes and a string are one part each; what follows lies where C puts it."""
    assert shape(odd.maps["flow_map"]).key == (
        Part("source", 0, 128, Encoding.BYTES, "struct in6_addr"),
        Part("mac", 128, 48, Encoding.BYTES, "__u8[6]"),
        Part("name", 176, 80, Encoding.STRING, "char[10]"),
        Part("ports.0", 256, 16, Encoding.UNSIGNED, "__be16", big_endian=True),
        Part("ports.1", 272, 16, Encoding.UNSIGNED, "__be16", big_endian=True),
        Part(
            "verdict",
            288,
            32,
            Encoding.ENUM,
            "enum verdict",
            names={-1: "VERDICT_BAD", 0: "VERDICT_NONE", 1: "VERDICT_GOOD"},
        ),
    )


def test_unions(odd):
    """A counter with two names is one part; bytes with two types are refused under both names."""
    parts = shape(odd.maps["unions_map"]).value
    assert [(part.name, part.aliases) for part in parts if not part.refused] == [
        ("record.packets", ("record.rx_packets",)),
        ("record.bytes", ("record.rx_bytes",)),
        ("same.a", ("same.b",)),
    ]
    assert {part.name for part in parts if part.refused} == {
        "other.all",
        "other.parts.packets",
        "other.parts.drops",
        *(f"other.raw.{at}" for at in range(16)),
    }


def test_a_map_without_btf_has_no_type_ids(odd):
    """The kernel returns 0 for the value type of a map that was declared by sizes alone."""
    info = bpf.map_info(odd.maps["plain_map"])
    assert (info.btf_id, info.btf_key_type_id, info.btf_value_type_id) == (0, 0, 0)


@pytest.fixture(scope="module")
def xdp_filter():
    """The maps of xdp-tools' filter, loaded."""
    if not XDP_TOOLS:
        pytest.skip("xdp-tools is not installed")
    with Loaded(XDP_TOOLS[0]) as loaded:
        yield loaded


def test_xdp_tools_maps(xdp_filter):
    """xdp-filter's own maps: the statistics by action, and the filters."""
    record = (
        Part("packets", 0, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_packets",)),
        Part("bytes", 64, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_bytes",)),
    )
    number = (Part("value", 0, 64, Encoding.UNSIGNED, "__u64"),)
    index = (Part("key", 0, 32, Encoding.UNSIGNED, "__u32"),)
    layouts = {name: shape(xdp_filter.maps[name]) for name in sorted(xdp_filter.maps) if name[0] in "fx"}
    assert {
        name: (seen.key, seen.value) for name, seen in layouts.items() if not name.startswith("xdpfilt")
    } == {
        "filter_ethernet": ((Part("addr", 0, 48, Encoding.BYTES, "__u8[6]"),), number),
        "filter_ipv4": (index, number),
        "filter_ipv6": ((Part("key", 0, 128, Encoding.BYTES, "struct in6_addr"),), number),
        "filter_ports": (index, number),
        "xdp_stats_map": (index, record),
    }


def test_the_value_of_each_cpu_is_read_as_bpftool_reads_it(xdp_filter):
    """Each CPU's slot of a per-CPU map has the shape that BTF describes."""
    map_fd = xdp_filter.maps["xdp_stats_map"]
    info = bpf.map_info(map_fd)
    assert info.type == uapi.MAP_PERCPU_ARRAY
    slots = len(dump(map_fd)[0]["values"])
    raw = random.Random(1).randbytes(info.value_size * slots)  # noqa: S311
    map_update(map_fd, (2).to_bytes(4, sys.byteorder), raw)
    values = [dict(entry)["value"] for entry in dump(map_fd)[2]["values"]]
    for at, value in enumerate(values):
        check(shape(map_fd).value, raw[16 * at : 16 * (at + 1)], value, "value")
