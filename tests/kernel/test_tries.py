# SPDX-License-Identifier: Apache-2.0
"""LPM tries of the kernel: each prefix is a series, `10.0.0.0/8`, with exactly what its value holds."""

import errno
import random
import socket
import struct

import pytest

from demo.bpf_commands import map_delete, map_update
from sidecar import bpf_reader
from sidecar.describe.kernel_btf import shape_by_btf
from sidecar.describe.resolve import resolve
from sidecar.describe.spec import KeySpec, LayoutSpec, MapRef, Member, SourceSpec
from sidecar.kernel import features, uapi
from sidecar.kernel import syscall as bpf
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.user_program import bpftool, xdp_otel

NO_PREALLOC = 1
VALUE = (Member("packets", "u64"), Member("bytes", "u64"))


@pytest.fixture(scope="module")
def tries(tmp_path_factory):
    """The maps of maps/tries.bpf.c, loaded."""
    with Loaded(compile_object(MAPS / "tries.bpf.c", tmp_path_factory.mktemp("bpf") / "tries.o")) as loaded:
        yield loaded.maps


def made(fd, **spec):
    """What is made of a trie."""
    info = bpf.map_info(fd)
    return resolve(SourceSpec(MapRef("name", "map"), **spec), info, shape_by_btf(info))


def v4(length, address):
    return struct.pack("=I", length) + socket.inet_aton(address)


def v6(length, address):
    return struct.pack("=I", length) + socket.inet_pton(socket.AF_INET6, address)


def policy(length, identity, proto, port):
    return struct.pack("=IIBB", length, identity, 1, proto) + port.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("name", "key", "attributes"),
    [
        ("v4", v4(8, "10.0.0.0"), {"addr": "10.0.0.0/8"}),
        ("v4", v4(32, "10.1.2.3"), {"addr": "10.1.2.3/32"}),
        ("v4", v4(0, "0.0.0.0"), {"addr": "0.0.0.0/0"}),
        # The kernel keeps the bits beyond the prefix as they were written.
        ("v4", v4(12, "10.255.255.255"), {"addr": "10.240.0.0/12"}),
        ("v4_word", v4(24, "192.0.2.0"), {"dst": "192.0.2.0/24"}),
        ("v6", v6(33, "2001:db8:8000::"), {"net": "2001:db8:8000::/33"}),
        ("v6_words", v6(64, "2001:db8:0:1::"), {"net": "2001:db8:0:1::/64"}),
        ("embedded", v4(16, "10.1.0.0"), {"data": "10.1.0.0/16"}),
        (
            "by_device",
            struct.pack("=II", 32 + 24, 1_999_999_999) + socket.inet_aton("198.51.100.0"),
            {"ifindex": "1999999999", "saddr": "198.51.100.0/24"},
        ),
        ("by_device", struct.pack("=II4x", 0, 0), {"ifindex": "0/0", "saddr": "0.0.0.0/0"}),
        ("policy", policy(64, 5, 6, 443), {"identity": 5, "egress": 1, "proto": "tcp", "dport": 443}),
        (
            "policy",
            policy(60, 5, 6, 8080),
            {"identity": 5, "egress": 1, "proto": "tcp", "dport": "8080/12"},
        ),
        (
            "policy",
            policy(40, 5, 0, 0),
            {"identity": 5, "egress": 1, "proto": "0/0", "dport": "0/0"},
        ),
        ("macs", struct.pack("=I", 24) + bytes.fromhex("02aabb000000"), {"mac": "02:aa:bb:00:00:00/24"}),
    ],
)
def test_a_prefix_is_shown_as_people_write_it(tries, name, key, attributes):
    """Of a key with more members, what the prefix covers in part has the number of its bits."""
    schema = made(tries[name])

    assert dict(schema.label(key)) == attributes
    # Not with the name of an interface, or without padding.
    assert schema.distinct_keys == (name not in ("by_device", "policy"))


def test_a_union_in_a_key_is_decoded_as_configured(tries):
    """As in Cilium's ipcache: the address of one family, or the bytes of both."""
    head = struct.pack("=IHBB", 32 + 16, 1, 0, 4)
    key = head + socket.inet_aton("10.244.0.0") + bytes(12)
    by_default = dict(made(tries["ipcache"]).label(key))
    chosen = made(tries["ipcache"], key=(KeySpec("ip4", "source.subnet", "ipv4"),))

    assert by_default["ip6"] == "0af40000000000000000000000000000/16"
    assert chosen.label(key) == (("source.subnet", "10.244.0.0/16"),)


def test_the_length_of_the_prefix_can_be_an_attribute(tries):
    """By its name, like any part of a key."""
    schema = made(tries["v4"], key=(KeySpec("prefixlen", "length"), KeySpec("addr", "hex", "hex")))

    assert schema.label(v4(8, "10.0.0.0")) == (("length", 8), ("hex", "0a000000/8"))


@pytest.mark.parametrize(
    ("key", "attribute"),
    [
        (None, "key"),
        ((Member("prefixlen", "u32"), Member("net", "u8", (4,))), "net"),
        ((Member("prefixlen", "u32"), Member("net", "be32")), "net"),
    ],
)
def test_a_trie_without_btf_is_read_by_its_layout(make_map, key, attribute):
    """Also if the layout has only the value."""
    fd = make_map(uapi.MAP_LPM_TRIE, key_size=8, value_size=16, max_entries=8, flags=NO_PREALLOC)
    schema = made(fd, layout=LayoutSpec(VALUE, key))

    assert schema.label(v4(9, "10.128.0.0")) == ((attribute, "10.128.0.0/9"),)


@pytest.mark.parametrize("batches", [True, False])
def test_every_prefix_is_read_exactly(tries, monkeypatch, batches):
    """Nested ones too, with and without the batch operations of newer kernels."""
    if not batches:
        monkeypatch.setattr(bpf, "map_lookup_batch", lambda *_: (0, errno.EINVAL))
    monkeypatch.setattr(bpf_reader, "_FIRST_BATCH", 64)
    rng = random.Random(7)  # noqa: S311
    fd = tries["v4"]
    expected = {}
    for number in range(600):
        length = rng.randrange(33)
        network = rng.getrandbits(32) >> (32 - length) << (32 - length) if length else 0
        key = struct.pack("=I", length) + network.to_bytes(4, "big")
        expected[key] = (number + 2**53 + 1, number)
        map_update(fd, key, struct.pack("=QQ", *expected[key]))
    try:
        assert dict(bpf_reader.read(fd, bpf.map_info(fd), made(fd)).cells) == expected
    finally:
        for key in expected:
            map_delete(fd, key)


def test_a_key_that_is_deleted_meanwhile_never_has_the_value_of_a_shorter_one(tries, monkeypatch):
    """A lookup of a deleted prefix finds the one around it."""
    fd = tries["v4"]
    outer, inner = v4(8, "10.0.0.0"), v4(16, "10.1.0.0")
    for key, count in ((outer, 1000), (inner, 5)):
        map_update(fd, key, struct.pack("=QQ", count, count))
    look_up = bpf.map_lookup

    def delete_first(map_fd, key, size):
        if key == inner:
            map_delete(fd, inner)
        return look_up(map_fd, key, size)

    monkeypatch.setattr(bpf, "map_lookup_batch", lambda *_: (0, errno.EINVAL))
    monkeypatch.setattr(bpf, "map_lookup", delete_first)
    try:
        assert dict(bpf_reader.read(fd, bpf.map_info(fd), made(fd)).cells) == {outer: (1000, 1000)}
    finally:
        map_delete(fd, outer)


def test_a_walk_that_starts_over_counts_no_prefix_twice(tries, monkeypatch):
    """The kernel starts over if the key that it would continue from was deleted."""
    if not features.reads_in_batches(tries["v4"], bpf.map_info(tries["v4"])):
        pytest.skip("the kernel reads tries key by key")
    monkeypatch.setattr(bpf_reader, "_FIRST_BATCH", 64)
    monkeypatch.setattr(bpf_reader, "_SMALLEST_BATCH", 64)
    fd = tries["v4"]
    expected = {v4(32, f"10.0.{number // 200}.{number % 200}"): (number, 1) for number in range(1000)}
    for key, counts in expected.items():
        map_update(fd, key, struct.pack("=QQ", *counts))
    look_up, deleted = bpf.map_lookup_batch, []

    def delete_cursor(map_fd, cursor_in, cursor_out, *rest):
        done = look_up(map_fd, cursor_in, cursor_out, *rest)
        if len(deleted) < 3:
            deleted.append(cursor_out.raw)
            map_delete(fd, cursor_out.raw)
        return done

    monkeypatch.setattr(bpf, "map_lookup_batch", delete_cursor)
    cells = dict(bpf_reader.read(fd, bpf.map_info(fd), made(fd)).cells)
    left = {key: counts for key, counts in expected.items() if key not in deleted}
    for key in left:
        map_delete(fd, key)

    assert cells == left
    assert len(deleted) == 3


def test_the_commands_show_a_trie(tries, make_pin, tmp_path):
    """`dump`, and the configuration that `discover` writes, which chooses prefixes by `where` too."""
    fd = tries["v4_word"]
    counts = {"10.0.0.0/8": ("7", "700"), "10.1.0.0/16": ("5", "320")}
    for prefix, values in counts.items():
        address, _, length = prefix.partition("/")
        map_update(fd, v4(int(length), address), struct.pack("=QQ", *map(int, values)))
    pin = make_pin(fd)
    config = tmp_path / "trie.yaml"
    config.write_text(xdp_otel("discover", "--write-config", pin) + "    where: {dst: 10.1.0.0/16}\n")
    oracle = {}
    for entry in bpftool("map", "dump", "pinned", pin):
        key, value = (entry["formatted"][part] for part in ("key", "value"))
        prefix = f"{socket.inet_ntoa(struct.pack('=I', key['dst']))}/{key['prefixlen']}"
        oracle[prefix] = (str(value["packets"]), str(value["bytes"]))

    assert oracle == counts
    assert rows(xdp_otel("dump", "--map-path", pin)) == oracle
    assert rows(xdp_otel("dump", "--config", config)) == {"10.1.0.0/16": ("5", "320")}


def rows(dumped):
    """The rows of a table: counts by prefix."""
    return {prefix: tuple(counts) for prefix, *counts in map(str.split, dumped.splitlines()[2:])}
