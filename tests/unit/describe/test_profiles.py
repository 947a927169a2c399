# SPDX-License-Identifier: Apache-2.0
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.describe.file.sources import built_in, built_in_names, profile
from sidecar.describe.layout import shape_from
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import ConfigError, RightsError, SourceError
from sidecar.kernel import uapi
from sidecar.kernel.syscall import MapInfo
from sidecar.kinds import Kind
from sidecar.model import Field
from sidecar.schema import Instrument

SOURCE = SourceSpec(MapRef("pin", "/sys/fs/bpf/stats_map"))
STATS = MapInfo(1, uapi.MAP_PERCPU_ARRAY, "stats_map", 4, 64, 1, 0, 0, 0)
ACTIONS = MapInfo(1, uapi.MAP_PERCPU_ARRAY, "xdp_stats_map", 4, 16, 5, 0, 0, 0)
INDEX = Part("key", 0, 32, Encoding.UNSIGNED, "__u32")
RECORD = (
    Part("packets", 0, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_packets",)),
    Part("bytes", 64, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_bytes",)),
)
PACKETS = "{packet}"


def shape_for(name):
    """The shape of the maps that a built-in profile describes."""
    size = {"packet-counter": 64, "semantic-conventions": 64, "xdp-stats": 16}[name]
    return shape_from(profile(name).layout, INDEX, 4, size)


def test_there_are_four_built_in_profiles():
    """Each can be read."""
    assert built_in_names() == ("packet-counter", "packet-sizes", "semantic-conventions", "xdp-stats")
    assert [profile.name for profile in built_in()] == list(built_in_names())


def test_the_packet_counter_has_its_nine_metrics():
    """Names, units, descriptions, fields and order are a contract with users and their dashboards."""
    schema = resolve(SOURCE, STATS, None)

    assert schema.name == "packet-counter"
    assert schema.instruments == (
        Instrument("xdp.packets.total", PACKETS, "Packets seen by the XDP program.", "total_packets"),
        Instrument("xdp.bytes.total", "By", "Bytes of all packets, Ethernet header included.", "total_bytes"),
        Instrument("xdp.packets.icmp", PACKETS, "ICMP and ICMPv6 packets.", "icmp_packets"),
        Instrument("xdp.packets.tcp", PACKETS, "TCP packets.", "tcp_packets"),
        Instrument("xdp.packets.udp", PACKETS, "UDP packets.", "udp_packets"),
        Instrument("xdp.packets.other", PACKETS, "Packets of any other kind.", "other_packets"),
        Instrument("xdp.packets.ipv4", PACKETS, "IPv4 packets.", "ipv4_packets"),
        Instrument("xdp.packets.ipv6", PACKETS, "IPv6 packets.", "ipv6_packets"),
        Instrument(
            "xdp.packets.rate",
            "{packet}/s",
            "Mean packet rate over the last window.",
            "total_packets",
            Kind.RATE,
        ),
    )
    assert schema.label(bytes(4)) == ()


def test_the_packet_counter_reads_the_shipped_struct():
    """Its layout is that of `struct pkt_stats`, field by field."""
    header = (Path(__file__).parents[3] / "bpf/xdp_packet_counter.h").read_text()
    offsets = re.findall(r"offsetof\(struct pkt_stats, (\w+)\) == (\d+)", header)

    assert resolve(SOURCE, STATS, None).layout.fields == tuple(
        Field(name, 8 * int(at)) for name, at in offsets
    )


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"type": uapi.MAP_ARRAY}, True),
        ({"name": "counts"}, True),
        ({"btf_id": 3, "btf_value_type_id": 5}, True),
        ({"name": "counts", "btf_id": 3, "btf_value_type_id": 5}, False),
        ({"type": uapi.MAP_HASH}, False),
        ({"max_entries": 2}, False),
        ({"value_size": 72}, False),
    ],
)
def test_a_map_without_btf_matches_the_packet_counter_by_type_and_size(changed, fits):
    """If it has BTF that cannot be read, its name must match too: other fields may be as large."""
    if fits:
        assert resolve(SOURCE, replace(STATS, **changed), None).name == "packet-counter"
    else:
        with pytest.raises((SourceError, RightsError), match="BTF"):
            resolve(SOURCE, replace(STATS, **changed), None)


def test_a_map_with_btf_matches_the_packet_counter_by_its_fields():
    """Whatever the map's name; a single field of another name makes it another map."""
    counts, shape = replace(STATS, name="counts"), shape_for("packet-counter")
    renamed = replace(shape, value=(replace(shape.value[0], name="packets"), *shape.value[1:]))

    assert resolve(SOURCE, counts, shape).name == "packet-counter"
    assert [instrument.name for instrument in resolve(SOURCE, counts, renamed).instruments][:2] == [
        "counts.packets",
        "counts.total_bytes",
    ]


def test_a_profile_that_the_user_names_needs_no_match():
    """It applies to any map with its fields, and a missing field is named in the error."""
    chosen = replace(SOURCE, profile=profile("packet-counter"))
    shape = shape_for("packet-counter")
    renamed = replace(shape, value=(replace(shape.value[0], name="total_pkts"), *shape.value[1:]))

    assert resolve(chosen, replace(STATS, name="counts"), None).name == "packet-counter"
    with pytest.raises(
        ConfigError, match=r"packet-counter\.yaml:\d+: field 'total_packets'.*mean 'total_pkts'"
    ):
        resolve(chosen, replace(STATS, btf_id=1, btf_value_type_id=1), renamed)
    with pytest.raises(ConfigError, match=r"packet-counter\.yaml:\d+: .*it has 64 bytes.*has 72"):
        resolve(chosen, replace(STATS, value_size=72), None)


def test_xdp_stats_counts_by_action():
    """In the map of xdp-tools, whose fields have two names each, and in the tutorial's, without BTF."""
    for shape in (Shape((INDEX,), RECORD, 4, 16), shape_for("xdp-stats"), None):
        schema = resolve(SOURCE, ACTIONS, shape)

        assert schema.name == "xdp-stats"
        assert [(instrument.name, instrument.unit) for instrument in schema.instruments] == [
            ("xdp.action.packets", PACKETS),
            ("xdp.action.bytes", "By"),
        ]
        assert [schema.label(struct.pack("=I", key)) for key in range(5)] == [
            (("xdp.action", name),) for name in ("aborted", "drop", "pass", "tx", "redirect")
        ]


def test_a_map_of_another_name_is_not_counted_by_action():
    """An index is an action only in the map of xdp-tools."""
    schema = resolve(SOURCE, replace(ACTIONS, name="by_queue"), Shape((INDEX,), RECORD, 4, 16))

    assert [instrument.name for instrument in schema.instruments] == ["by_queue.packets", "by_queue.bytes"]
    assert schema.label(struct.pack("=I", 2)) == (("key", 2),)


def test_no_packet_is_counted_twice_under_one_conventional_name():
    """The fields under one name sum to all packets: total = tcp + udp + icmp + other."""
    schema = resolve(replace(SOURCE, profile=profile("semantic-conventions")), STATS, None)

    views = {}
    for instrument in schema.instruments:
        views.setdefault(instrument.name, set()).add(instrument.field)
    assert views == {
        "system.network.packet.count": {"tcp_packets", "udp_packets", "icmp_packets", "other_packets"},
        "system.network.io": {"total_bytes"},
        "xdp.network.packet.count": {"ipv4_packets", "ipv6_packets"},
    }
    assert {("network.io.direction", "receive")} <= set.intersection(
        *(set(instrument.attributes) for instrument in schema.instruments)
    )


def test_conventional_names_are_used_only_if_configured():
    """The packet counter's own names are the default."""
    assert profile("semantic-conventions").match is None
