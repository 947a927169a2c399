# SPDX-License-Identifier: Apache-2.0
import struct
from dataclasses import replace

import pytest

from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import KeySpec, LayoutSpec, MapRef, Member, MetricSpec, SourceSpec
from sidecar.errors import ConfigError, RightsError, SourceError
from sidecar.kernel import uapi
from sidecar.kernel.syscall import MapInfo
from sidecar.kinds import Kind
from sidecar.model import Field
from sidecar.schema import Instrument

PIN = MapRef("pin", "/sys/fs/bpf/flows")
ADDRESS = "struct in6_addr"
KEY = (
    Part("ifindex", 0, 32, Encoding.UNSIGNED, "__u32"),
    Part("proto", 32, 8, Encoding.UNSIGNED, "__u8"),
    Part("port", 48, 16, Encoding.UNSIGNED, "__be16", big_endian=True),
)
VALUE = (
    Part("packets", 0, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_packets",)),
    Part("drops", 64, 32, Encoding.UNSIGNED, "__u32"),
    Part("balance", 96, 32, Encoding.SIGNED, "__s32"),
    Part("last", 128, 64, Encoding.UNSIGNED, "__u64", refused="member of a union"),
    Part("open", 192, 8, Encoding.BOOL, "_Bool"),
    Part("state", 200, 8, Encoding.ENUM, "enum state", names={0: "A", 1: "B"}),
    Part("name", 208, 32, Encoding.STRING, "char[4]"),
    Part("next", 256, 64, Encoding.POINTER, "void *", refused="a pointer"),
    Part("wide", 320, 128, Encoding.OTHER, "__int128", refused="an integer of 128 bits"),
)
SHAPE = Shape(KEY, VALUE, 8, 56)


def info(kind=uapi.MAP_HASH, name="flows", key_size=8, value_size=56, max_entries=100, btf=1):
    return MapInfo(3, kind, name, key_size, value_size, max_entries, btf, btf, btf)


def resolved(*, of=None, shape=SHAPE, **spec):
    """The schema of a map."""
    return resolve(SourceSpec(PIN, at="flows.yaml:2", **spec), of or info(), shape)


def refusal(error=ConfigError, **spec):
    with pytest.raises(error) as caught:
        resolved(**spec)
    return str(caught.value)


def metric(field, kind=Kind.COUNTER, name="m", **more):
    return MetricSpec(name, field, kind=kind, at="flows.yaml:5", **more)


def test_every_integer_becomes_a_sum():
    """Without configuration: <map>.<field>; signed ones may fall; other types are left out."""
    schema = resolved()

    assert [(instrument.name, instrument.field, instrument.kind) for instrument in schema.instruments] == [
        ("flows.packets", "packets", Kind.COUNTER),
        ("flows.drops", "drops", Kind.COUNTER),
        ("flows.balance", "balance", Kind.UPDOWNCOUNTER),
    ]
    assert schema.layout.fields == (
        Field("packets", 0),
        Field("drops", 64, 32),
        Field("balance", 96, 32, signed=True),
    )
    assert (schema.name, schema.layout.value_size) == ("flows", 56)


def test_a_value_without_a_plain_integer_is_refused():
    """The user may choose a member of a union, and its kind."""
    union = Shape(KEY, tuple(part for part in VALUE if part.name in ("last", "open")), 8, 56)

    assert refusal(SourceError, shape=union) == (
        "cannot read map flows (id 3): "
        "no field of its value is known to be a count (last: member of a union): "
        "list its fields under `metrics:` in a configuration file, `field: slots.*` for an array, "
        "with `kind: gauge` if they are not counts"
    )
    assert resolved(shape=union, metrics=(metric("last"),)).instruments[0].kind is Kind.COUNTER


def test_every_part_of_the_key_becomes_an_attribute():
    """By the decoder that name and type suggest, in the order of the C declaration."""
    label = resolved().label

    assert label(struct.pack("=IBxH", 2**31, 6, 0)[:6] + b"\x01\xbb") == (
        ("ifindex", "2147483648"),
        ("proto", "tcp"),
        ("port", 443),
    )


def test_attributes_that_prometheus_rejects_are_renamed():
    """Its exporter would drop the whole metric, and only the Collector's log would say so."""
    names = ("__x", "_", "instance", "job")
    key = tuple(Part(name, 8 * at, 8, Encoding.UNSIGNED, "__u8") for at, name in enumerate(names))
    label = resolved(of=info(key_size=4), shape=Shape(key, VALUE, 4, 56)).label

    assert label(bytes([0, 1, 2, 3])) == (
        ("key.__x", 0),
        ("key._", 1),
        ("key.instance", 2),
        ("key.job", 3),
    )


@pytest.mark.parametrize("kind", [uapi.MAP_ARRAY, uapi.MAP_PERCPU_ARRAY])
def test_the_index_of_an_array_is_an_attribute_unless_it_has_one_entry(kind):
    """The attribute is `key`; a single entry needs none."""
    shape = Shape((Part("key", 0, 32, Encoding.UNSIGNED, "__u32"),), VALUE, 4, 56)
    raw = struct.pack("=I", 3)

    assert resolved(of=info(kind, key_size=4), shape=shape).label(raw) == (("key", 3),)
    assert resolved(of=info(kind, key_size=4, max_entries=1), shape=shape).label(raw) == ()
    # Global variables have no key in BTF.
    variables = replace(shape, key=())
    assert resolved(of=info(kind, key_size=4), shape=variables).label(raw) == (("key", 3),)


def test_the_widest_member_stands_for_a_union_in_a_key():
    """Which member is valid is unknown: its bytes in hex keep two keys two series."""
    key = (
        Part("family", 0, 32, Encoding.UNSIGNED, "__u32"),
        Part("v4", 32, 32, Encoding.UNSIGNED, "__be32", big_endian=True, refused="member of a union"),
        Part("v6", 32, 128, Encoding.BYTES, ADDRESS, refused="member of a union"),
    )
    shape = Shape(key, VALUE, 20, 56)

    assert resolved(of=info(key_size=20), shape=shape).label(struct.pack("=I", 2) + bytes(range(16))) == (
        ("family", 2),
        ("v6", "000102030405060708090a0b0c0d0e0f"),
    )
    configured = resolved(of=info(key_size=20), shape=shape, key=(KeySpec("v6", "address", at="f:1"),))
    assert configured.label(bytes(4) + bytes(15) + b"\1") == (("address", "::1"),)


def test_a_configuration_determines_the_schema():
    """Names, units, kinds, attributes; a field by its alias; a member of a union by its name."""
    schema = resolved(
        metrics=(
            MetricSpec("flow.packets", "rx_packets", "{packet}", "Packets.", attributes=(("dir", "in"),)),
            MetricSpec("flow.rate", "packets", kind=Kind.RATE),
            MetricSpec("flow.last", "last", kind=Kind.GAUGE),
            MetricSpec("flow.open", "open", kind=Kind.GAUGE),
            MetricSpec("flow.state", "state", kind=Kind.GAUGE),
        ),
        key=(KeySpec("proto", "network.transport", "protocol"),),
        attributes=(("site", "fra1"),),
        series_limit=10,
    )

    assert schema.instruments[0] == Instrument(
        "flow.packets", "{packet}", "Packets.", "packets", Kind.COUNTER, (("dir", "in"),)
    )
    assert [field.name for field in schema.layout.fields] == ["packets", "last", "open", "state"]
    assert schema.label(b"\0\0\0\0\x06\0\0\0") == (("network.transport", "tcp"),)
    assert (schema.attributes, schema.series_limit, schema.cpu) == ((("site", "fra1"),), 10, None)


def test_only_fields_that_are_used_are_read():
    """A field without a metric costs nothing."""
    assert [field.name for field in resolved(metrics=(metric("drops"),)).layout.fields] == ["drops"]


def test_an_empty_key_sums_all_keys():
    """`key: []`: no key has any attributes."""
    assert resolved(key=()).label(bytes(8)) == ()


def test_an_unsigned_field_that_may_fall_is_read_in_twos_complement():
    """+1 on one CPU and -1 on another would sum to 2^32 in an unsigned 32-bit field."""
    (field,) = resolved(metrics=(metric("drops", Kind.UPDOWNCOUNTER),)).layout.fields

    assert field.signed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            metric("pakets"),
            "flows.yaml:5: field 'pakets': map flows has no such field: did you mean 'packets'",
        ),
        (metric("tx_packets"), "did you mean 'rx_packets'"),
        (metric("balance"), "field balance is signed and may fall: write `kind: updowncounter`"),
        (metric("open"), "field open is bool and is not a count: write `kind: gauge`"),
        (metric("state", Kind.RATE), "field state is enum and is not a count: write `kind: gauge`"),
        (metric("name", Kind.GAUGE), "field name is char[4], not a number of up to 64 bits"),
        (metric("next", Kind.GAUGE), "field next is void *, not a number"),
        (metric("wide"), "field wide is __int128, not a number"),
    ],
)
def test_a_metric_that_does_not_fit_its_field_is_refused(wrong, message):
    """With the line of the file, and what to write instead."""
    refused = refusal(metrics=(wrong,))

    assert refused.startswith("flows.yaml:5: ")
    assert message in refused


def test_a_field_is_not_both_a_counter_and_an_updowncounter():
    """It either falls or it does not."""
    both = (metric("drops"), metric("drops", Kind.UPDOWNCOUNTER, "n"))

    assert "both a counter, which never falls, and an updowncounter" in refusal(metrics=both)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            KeySpec("protto", "a", at="f:9"),
            "f:9: field 'protto': the key of map flows has no such field: did you",
        ),
        (KeySpec("proto", "a", "ipv4", at="f:9"), "f:9: decoder ipv4 for proto (__u8): it needs 4 bytes"),
        (KeySpec("proto", "a", "enum", at="f:9"), "f:9: decoder enum for proto (__u8): BTF has no names"),
    ],
)
def test_a_part_of_the_key_that_cannot_be_decoded_is_refused(wrong, message):
    """With the line of the file."""
    assert refusal(key=(wrong,)).startswith(message)


def test_all_that_does_not_fit_the_map_is_refused_at_once():
    """Metrics, parts of the key and `cpu` do not depend on each other; by line."""
    with pytest.raises(ConfigError) as caught:
        resolved(
            metrics=(metric("pakets"), replace(metric("balance", name="n"), at="flows.yaml:10")),
            key=(KeySpec("protto", "a", at="flows.yaml:9"), KeySpec("proto", "b", "ipv4", at="flows.yaml:8")),
            cpu="cpu",
            of=info(uapi.MAP_HASH),
        )

    assert [error.at for error in caught.value.each] == [f"flows.yaml:{line}" for line in (2, 5, 8, 9, 10)]


def test_a_source_cannot_repeat_an_attribute_of_its_key():
    """Nor one that the key has by default: a data point has each attribute once."""
    assert "attribute 'proto'" in refusal(attributes=(("proto", "x"),))


def test_cpu_requires_a_per_cpu_map():
    """For another map it is refused."""
    assert resolved(of=info(uapi.MAP_LRU_PERCPU_HASH), cpu="cpu").cpu == "cpu"
    assert refusal(cpu="cpu") == "flows.yaml:2: cpu: map flows is HASH, not per CPU: leave it out"


def test_a_boolean_is_not_summed_over_cpus():
    """It has a meaning for each CPU only."""
    spec = {"of": info(uapi.MAP_PERCPU_HASH), "metrics": (metric("open", Kind.GAUGE),)}

    assert "a sum over CPUs would mean nothing" in refusal(**spec)
    resolved(**spec, cpu="cpu")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (13, "HASH_OF_MAPS maps are not supported: restart the sidecar to read the maps inside it"),
        (12, "ARRAY_OF_MAPS maps are not supported"),
        (
            27,
            "RINGBUF maps are not supported: name one of type ARRAY, PERCPU_ARRAY, HASH",
        ),
        (99, "type 99 maps are not supported"),
    ],
)
def test_an_unsupported_map_type_is_refused(kind, message):
    """By name, with the supported ones."""
    assert message in refusal(SourceError, of=info(kind))


def test_a_map_that_nothing_describes_is_refused():
    """Without BTF, or without the right to read it; the remedy names the alternatives."""
    assert "it has no BTF" in refusal(SourceError, of=info(btf=0), shape=None)
    assert "its BTF cannot be read" in refusal(RightsError, shape=None)
    assert "CAP_SYS_ADMIN" in refusal(RightsError, shape=None)


LAYOUT = LayoutSpec(
    key=(Member("a", "u32"), Member("b", "be32")), value=(Member("hits", "u64"),), at="flows.yaml:3"
)


def test_a_layout_replaces_missing_btf():
    """Fields and key are those of the layout."""
    schema = resolved(of=info(value_size=8, btf=0), shape=None, layout=LAYOUT)

    assert [instrument.name for instrument in schema.instruments] == ["flows.hits"]
    assert schema.label(struct.pack("=I", 1) + struct.pack(">I", 2)) == (("a", 1), ("b", 2))


def test_a_layout_takes_precedence_over_btf():
    """It knows more than a `__u8 value[8]`."""
    raw = [Part(name, 0, 64, Encoding.BYTES, "__u8[8]") for name in ("key", "value")]
    shape = Shape((raw[0],), (raw[1],), 8, 8)

    assert [
        instrument.name
        for instrument in resolved(of=info(value_size=8), shape=shape, layout=LAYOUT).instruments
    ] == ["flows.hits"]


def test_a_key_that_a_layout_leaves_out_becomes_hex_or_an_index():
    """Hex for a hash, the index for an array."""
    layout = replace(LAYOUT, key=None)

    hashed = resolved(of=info(value_size=8, btf=0), shape=None, layout=layout)
    indexed = resolved(of=info(uapi.MAP_ARRAY, key_size=4, value_size=8, btf=0), shape=None, layout=layout)

    assert hashed.label(bytes(range(8))) == (("key", "0001020304050607"),)
    assert indexed.label(struct.pack("=I", 9)) == (("key", 9),)


@pytest.mark.parametrize(
    ("name", "metric_name"),
    [
        ("flows", "flows.packets"),
        ("1st", "map_1st.packets"),
        ("_x", "map__x.packets"),
        ("a b", "a_b.packets"),
        ("", "map_3.packets"),
    ],
)
def test_any_map_name_yields_valid_metric_names(name, metric_name):
    """OpenTelemetry requires a letter first, then letters, digits and _./-"""
    assert resolved(of=info(name=name)).instruments[0].name == metric_name


U64 = {"bits": 64, "encoding": Encoding.UNSIGNED, "type": "__u64"}
V1 = Shape((), (Part("packets", 0, **U64), Part("bytes", 64, **U64)), 4, 16)


def layout_of(*names, key=None):
    members = tuple(Member(name, "u64", at="f:7") for name in names)
    return LayoutSpec(key=key, value=members, at="flows.yaml:3")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("bytes", "packets"), "bytes at byte 0 (8 long) of the value, by BTF it is at byte 8 (8 long)"),
        (("packets", "drops"), "drops at byte 8 (8 long) of the value, by BTF that is bytes"),
        (("drops", "bytes"), "drops at byte 0 (8 long) of the value, by BTF that is packets"),
    ],
)
def test_a_layout_that_btf_contradicts_is_refused(names, message):
    """The program changed, the file did not: same size, but the fields would be swapped."""
    refused = refusal(SourceError, of=info(value_size=16), shape=V1, layout=layout_of(*names))

    assert refused.startswith("flows.yaml:3: the layout for map flows: it has ")
    assert message in refused
    assert "write it again: `xdp-otel discover --write-config MAP --with-layout`" in refused


def test_a_layout_of_the_key_that_btf_contradicts_is_refused():
    """Source and destination would be swapped."""
    key = tuple(Part(name, 32 * at, 32, Encoding.UNSIGNED, "__u32") for at, name in enumerate(("src", "dst")))
    shape = replace(V1, key=key, key_size=8)
    swapped = layout_of("packets", "bytes", key=(Member("dst", "be32"), Member("src", "be32")))

    assert "it has dst at byte 0" in refusal(SourceError, of=info(value_size=16), shape=shape, layout=swapped)


def test_a_layout_may_differ_where_btf_has_no_names():
    """Names of elements and of padding, other types, fewer fields."""
    of = info(value_size=16)
    array = tuple(Part(f"value.{at}", 64 * at, **U64) for at in (0, 1))

    resolved(of=of, shape=V1, layout=layout_of("packets", "bytes"))
    resolved(of=of, shape=replace(V1, value=array), layout=layout_of("packets", "drops"))
    resolved(of=of, shape=replace(V1, value=V1.value[:1]), layout=layout_of("packets", "_pad"))
    resolved(of=of, shape=V1, layout=replace(layout_of(), value=(Member("bytes", "s64", offset=8),)))


def test_fields_that_are_not_counts_are_not_sums():
    """A level is a gauge, over CPUs only if it can be summed; times and identifiers are left out."""
    names = ("packets", "last_seen", "iat_mean", "tokens", "flags")
    value = tuple(Part(name, 64 * at, **U64) for at, name in enumerate(names))
    shape = Shape(KEY, value, 8, 40)
    alone = resolved(of=info(value_size=40), shape=shape)
    summed = resolved(of=info(uapi.MAP_PERCPU_HASH, value_size=40), shape=shape)

    assert {instrument.field: instrument.kind for instrument in alone.instruments} == {
        "packets": Kind.COUNTER,
        "iat_mean": Kind.GAUGE,
        "tokens": Kind.GAUGE,
    }
    assert {instrument.field: instrument.kind for instrument in summed.instruments} == {
        "packets": Kind.COUNTER,
        "tokens": Kind.GAUGE,
    }
    assert "last_seen (a time" in alone.notes[0]
    assert "flags (an id, flags" in alone.notes[0]
    assert "iat_mean (a value that cannot be summed)" in summed.notes[0]


def test_a_value_without_counts_by_name_is_exported_as_counts():
    """A metric too many does less harm than none."""
    value = (Part("last_seen", 0, **U64), Part("flags", 64, **U64))
    schema = resolved(of=info(value_size=16), shape=Shape(KEY, value, 8, 16))

    assert [(instrument.field, instrument.kind) for instrument in schema.instruments] == [
        ("last_seen", Kind.COUNTER),
        ("flags", Kind.COUNTER),
    ]


def test_default_names_that_are_the_same_in_prometheus_are_numbered():
    """There is no configuration to rename them."""
    key = tuple(
        Part(name, 16 * at, 16, Encoding.UNSIGNED, "__u16")
        for at, name in enumerate(("src.port", "src_port", "src_port_2", "xdp_source"))
    )
    value = (Part("rx.packets", 0, **U64), Part("rx_packets", 64, **U64))
    schema = resolved(of=info(value_size=16), shape=Shape(key, value, 8, 16))

    assert [name for name, _ in schema.label(bytes(8))] == [
        "src.port",
        "src_port_2",
        "src_port_2_2",
        "xdp_source_2",
    ]
    assert [instrument.name for instrument in schema.instruments] == [
        "flows.rx.packets",
        "flows.rx_packets_2",
    ]


def test_a_schema_knows_whether_it_keeps_keys_distinct():
    """It does if every part becomes an attribute by a decoder that never merges values."""
    every = tuple(KeySpec(name, name, at="f:1") for name in ("ifindex", "proto", "port"))

    assert resolved(key=every).distinct_keys
    assert not resolved().distinct_keys  # by `ifname`
    assert not resolved(key=every[:2]).distinct_keys
    assert not resolved(key=()).distinct_keys
    assert not resolved(key=(*every[1:], replace(every[0], decoder="ifname"))).distinct_keys


def test_unusable_btf_is_not_a_missing_right():
    """The error has its cause, and exit code 3."""
    with pytest.raises(SourceError) as caught:
        resolve(SourceSpec(PIN), info(), None, unusable="more than 8192 fields")

    assert (
        "its BTF cannot be used (more than 8192 fields), so the fields of its 56-byte values are unknown"
        in str(caught.value)
    )


def test_an_array_may_lack_btf_because_of_the_type_of_its_key():
    """Even with -g, libbpf loads it without BTF if the key is an enum or a struct."""
    array = refusal(SourceError, of=info(uapi.MAP_PERCPU_ARRAY, key_size=4, btf=0), shape=None)

    assert "`__type(key, __u32)`, as the kernel requires, and `__type(value, …)`, and build with -g" in array


def test_a_guess_without_btf_is_a_warning():
    """64 bytes may mean anything, except in the shipped program's own map."""
    stats = info(uapi.MAP_PERCPU_ARRAY, "stats_map", 4, 64, 1, btf=0)
    (warning,) = resolved(of=stats, shape=None).warnings

    assert "is read as packet-counter by its 64-byte values alone, since it has no BTF" in warning
    assert "write `profile: packet-counter`" in warning
    hidden = replace(stats, btf_id=1, btf_value_type_id=1)
    assert (
        "by its name and its 64-byte values alone, since its BTF cannot be"
        in resolved(of=hidden, shape=None).warnings[0]
    )
    for map_ref in (MapRef("interface", "eth0"), MapRef("pin", "/sys/fs/bpf/xdp-otel/eth0/stats_map")):
        assert resolve(SourceSpec(map_ref), stats, None).warnings == ()


@pytest.mark.parametrize(
    ("map_type", "entries", "rows", "only_used"),
    [
        (uapi.MAP_PERCPU_ARRAY, 64, None, True),
        (uapi.MAP_ARRAY, 64, "used", True),
        (uapi.MAP_ARRAY, 64, "all", False),
        (uapi.MAP_PERCPU_ARRAY, 1, None, False),
        (uapi.MAP_HASH, 64, None, False),
    ],
)
def test_rows_of_zeros_are_no_series_unless_there_is_one_row_or_they_are_wanted(
    map_type, entries, rows, only_used
):
    """The shipped program's map has one row: it shows zeros from the start."""
    info = MapInfo(7, map_type, "m", 4, 8, entries, 0, 0, 0)
    source = SourceSpec(MapRef("name", "m"), layout=LayoutSpec((Member("value", "u64"),)), rows=rows)

    assert resolve(source, info, None, profiles=()).only_used == only_used


def test_rows_of_a_hash_are_refused():
    """All its keys were made by the program."""
    info = MapInfo(7, uapi.MAP_HASH, "m", 4, 8, 64, 0, 0, 0)
    source = SourceSpec(
        MapRef("name", "m"), layout=LayoutSpec((Member("value", "u64"),)), rows="all", at="f:3"
    )

    with pytest.raises(ConfigError, match="rows: map m is HASH, whose keys are all used: leave it out"):
        resolve(source, info, None, profiles=())
