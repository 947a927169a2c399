# SPDX-License-Identifier: Apache-2.0
"""Which metrics maps with the BTF of clang yield, with and without configuration."""

import os
import struct

import pytest

from sidecar.describe.kernel_btf import shape_by_btf
from sidecar.describe.layout import shape_from
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Encoding, Part
from sidecar.describe.spec import KeySpec, LayoutSpec, MapRef, Member, SourceSpec
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kinds import Kind
from tests.kernel.compiled import XDP_TOOLS, Loaded


def shape(map_fd):
    return shape_by_btf(bpf.map_info(map_fd))


def made(map_fd, **spec):
    """What is made of a map."""
    return resolve(SourceSpec(MapRef("name", "map"), **spec), bpf.map_info(map_fd), shape(map_fd))


def test_every_odd_map_yields_sums_and_attributes(odd):
    """Each integer of the value becomes a metric named after the map, and any key can be encoded."""
    for fd in odd.maps.values():
        info = bpf.map_info(fd)
        if info.type != uapi.MAP_HASH or not info.btf_value_type_id:
            continue
        schema = made(fd)
        label = schema.label(os.urandom(info.key_size))

        assert all(instrument.name.startswith(f"{info.name}.") for instrument in schema.instruments)
        assert {instrument.kind for instrument in schema.instruments} <= {Kind.COUNTER, Kind.UPDOWNCOUNTER}
        assert [attribute for attribute, _ in label] == [part.name for part in shape(fd).key]


def test_a_key_of_many_types_is_decoded_by_type(odd):
    """An address, bytes, text, ports in network order, an enum."""
    key = bytes(15) + b"\1" + bytes.fromhex("02aabbcc0001") + b"eth0".ljust(10, b"\0")
    key += struct.pack(">HH", 443, 80) + struct.pack("=i", -1)

    assert made(odd.maps["flow_map"]).label(key.ljust(40, b"\0")) == (
        ("source", "::1"),
        ("mac", "02:aa:bb:cc:00:01"),
        ("name", "eth0"),
        ("ports.0", 443),
        ("ports.1", 80),
        ("verdict", "VERDICT_BAD"),
    )


def test_a_configured_key_is_decoded_as_configured(odd):
    """The members of a packed struct, each by another decoder than its type suggests."""
    key = (
        KeySpec("protocol", "network.transport", "protocol"),
        KeySpec("address", "source.address", "ipv4"),
        KeySpec("port", "source.port", "port"),
    )
    raw = b"\x06" + bytes([192, 0, 2, 7]) + struct.pack(">H", 443)

    assert made(odd.maps["packed_map"], key=key).label(raw) == (
        ("network.transport", "tcp"),
        ("source.address", "192.0.2.7"),
        ("source.port", 443),
    )


def test_a_handwritten_layout_equals_btf(odd):
    """`struct nested` by hand: each field where clang put it."""
    queue = (Member("packets", "u64"), Member("drops", "u32"))
    value = (
        Member("q", dims=(3,), members=queue),
        Member("grid", "u16", (2, 3)),
        Member(
            "anonymous", members=(Member("plain", "u32"), Member("deep", members=(Member("inner", "u64"),)))
        ),
        Member("last", "u32"),
    )
    by_btf = shape(odd.maps["nested_map"])

    written = shape_from(LayoutSpec(value), Part("key", 0, 16, Encoding.UNSIGNED, ""), 2, by_btf.value_size)

    assert [(part.bit_offset, part.bits) for part in written.value] == [
        (part.bit_offset, part.bits) for part in by_btf.value
    ]


@pytest.mark.skipif(not XDP_TOOLS, reason="xdp-tools is not installed")
def test_xdp_filter_is_recognized():
    """Its statistics by action, its own maps generically, without any configuration."""
    with Loaded(XDP_TOOLS[0]) as loaded:
        stats = made(loaded.maps["xdp_stats_map"])
        ethernet = made(loaded.maps["filter_ethernet"])

    assert stats.name == "xdp-stats"
    assert [instrument.name for instrument in stats.instruments] == ["xdp.action.packets", "xdp.action.bytes"]
    assert stats.label(struct.pack("=I", 1)) == (("xdp.action", "drop"),)
    assert ethernet.instruments[0].name.endswith(".value")
    assert ethernet.label(bytes(range(6))) == (("addr", "00:01:02:03:04:05"),)
