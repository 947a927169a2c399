# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel dump`: every number is bpftool's, and reading changes nothing."""

import json
import random
import socket
import subprocess
import sys

import pytest

from demo.bpf_commands import map_update
from sidecar.kernel import libbpf, uapi, xdp
from sidecar.kernel import syscall as bpf
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.frames import send
from tests.kernel.packets import TCP, UDP
from tests.kernel.user_program import bpftool, xdp_otel


def dumped(*arguments, **options):
    return json.loads(xdp_otel("dump", "--json", *arguments, **options))


def by_number(rows):
    """The rows of flows.bpf.c without a configuration, by address and protocol number."""
    numbers = {"tcp": TCP, "udp": UDP}
    return {(row["attributes"]["saddr"], numbers[row["attributes"]["proto"]]): row["fields"] for row in rows}


def test_every_key_and_field_is_as_in_bpftool(flows):
    """A per-CPU hash of structs, filled by real packets: one object per key, summed over the CPUs."""
    for at in range(1, 9):
        flows.send(f"192.0.2.{at}", TCP, at)
        flows.send(f"192.0.2.{at}", UDP, 2 * at, bytes(at))
    rows = dumped("--map-path", flows.map)

    assert by_number(rows) == flows.counted()
    assert {key: fields["packets"] for key, fields in by_number(rows).items()} == flows.sent
    assert {(row["source"], row["map"], row["map_id"]) for row in rows} == {
        (f"pin:{flows.map}", "flows", bpftool("map", "show", "pinned", flows.map)["id"])
    }


def test_the_table_has_the_same_numbers(flows):
    """A heading, a line of names, and a line per series."""
    flows.send("192.0.2.7", TCP, 1234)
    heading, names, line = xdp_otel("dump", "--map-path", flows.map).splitlines()

    assert heading == (
        f"pin:{flows.map}: map flows, id {bpftool('map', 'show', 'pinned', flows.map)['id']}, PERCPU_HASH, "
        "1 key, 1 series"
    )
    assert names.split() == ["saddr", "proto", "packets", "bytes", "fragments"]
    assert line.split() == ["192.0.2.7", "tcp", "1,234", f"{1234 * 54:,}", "0"]


def test_odd_maps_are_dumped_as_bpftool_dumps_them(tmp_path, cleanup):
    """Packed, padded, signed and bit-field integers of random bytes, by name; each key once."""
    path = compile_object(MAPS / "odd.bpf.c", tmp_path / "odd.o")
    loaded = cleanup.enter_context(Loaded(path))
    chance = random.Random(6)  # noqa: S311  # not a secret
    compared = 0
    for name in ("packed_map", "padded_map", "bits_map", "nested_map", "numbers_map", "bare_map", "four_map"):
        info = bpf.map_info(loaded.maps[name])
        for _ in range(4):
            map_update(loaded.maps[name], chance.randbytes(info.key_size), chance.randbytes(info.value_size))
        rows = dumped("--map-id", info.id)
        wanted = bpftool("map", "dump", "id", info.id)
        assert len(rows) == len(wanted) == 4
        for field in rows[0]["fields"]:
            if "be" in field:  # bpftool knows no byte order
                continue
            expected = [lookup(entry["formatted"]["value"], field) for entry in wanted]
            numbers = [row["fields"][field] for row in rows]
            # bpftool prints bit fields in hex, without a sign.
            if name == "bits_map" and isinstance(expected[0], str):
                expected = [int(text, 0) for text in expected]
                numbers = [number & 0x7F if field == "c" else number for number in numbers]
            assert sorted(numbers) == sorted(expected), (name, field)
            compared += 1
    assert compared > 30


def lookup(tree, path):
    """Follow a dotted path through bpftool's answer; anonymous members have no name there."""
    for step in [part for part in path.split(".") if part != "value"]:
        tree = tree[int(step)] if isinstance(tree, list) else within(tree, step)
    return tree


def within(tree, name):
    if name in tree:
        return tree[name]
    return next(below[name] for below in tree.values() if isinstance(below, dict) and name in below)


def test_sources_may_be_mixed(flows, make_map, make_pin, veth):
    """Pins, names and ids in one call; a table of several sources has a heading for each."""
    fd = make_map(uapi.MAP_ARRAY)
    map_update(fd, bytes(4), b"".join(n.to_bytes(8, sys.byteorder) for n in range(1, 9)))
    flows.send("192.0.2.7", TCP, 2)
    arguments = ["--map-path", flows.map, "--map-id", bpf.map_info(fd).id]
    rows = dumped(*arguments)

    assert [row["map"] for row in rows] == ["flows", "stats_map"]
    assert list(rows[1]["fields"].values()) == list(range(1, 9))
    headings = [line for line in xdp_otel("dump", *arguments).splitlines() if ": map " in line]
    assert [heading.split(", ")[0].split(": ")[1] for heading in headings] == ["map flows", "map stats_map"]


def test_an_interface_is_never_attached(veth):
    """Without the shipped program on it: one line, exit code 3, and still no program; with it: its counts."""
    refused = xdp_otel("dump", "--interface", veth.name, code=3)
    ifindex = socket.if_nametoindex(veth.name)

    assert refused == (
        f"ERROR cannot read the counts of {veth.name}: xdp-otel has no map there: "
        f"attach the shipped program: `xdp-otel attach --interface {veth.name}`; "
        f"or read a map of the program that is there: `--map-name {veth.name}:NAME`\n"
    )
    assert libbpf.attached_prog_id(ifindex) == 0
    xdp.attach(veth)
    send(veth, 9)
    (row,) = dumped("--interface", veth.name)
    assert row["attributes"] == {"network.interface.name": veth.name}
    assert (row["fields"]["total_packets"], row["fields"]["other_packets"]) == (9, 9)


def test_many_keys_are_all_shown(make_map):
    """20,000 keys of a hash, each with its own number."""
    fd = make_map(uapi.MAP_HASH, key_size=4, value_size=64, max_entries=20_000, name="many")
    for number in range(20_000):
        key = number.to_bytes(4, sys.byteorder)
        map_update(fd, key, b"".join((number * at).to_bytes(8, sys.byteorder) for at in range(1, 9)))
    config = f"sources: [{{id: {bpf.map_info(fd).id}, layout: {{key: u32, value: {{n: 'u64[8]'}}}}}}]"
    limit = ["--series-limit", str(8 * 20_000)]
    rows = json.loads(
        subprocess.run(
            [sys.executable, "-m", "sidecar", "dump", "--json", "--config", "/dev/stdin", *limit],
            input=config,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )

    assert {row["attributes"]["key"]: list(row["fields"].values()) for row in rows} == {
        number: [number * at for at in range(1, 9)] for number in range(20_000)
    }


@pytest.mark.parametrize("limit", [15, 30])
def test_keys_beyond_the_limit_are_one_overflow_series(flows, limit):
    """As `run` would export it: the rest is aggregated and marked; no packet is missing."""
    for at in range(12):
        flows.send(f"192.0.2.{at}", TCP, at + 1)
    rows = dumped("--map-path", flows.map, "--series-limit", limit)
    (rest,) = [row for row in rows if row["attributes"] == {"otel.metric.overflow": True}]

    # Three metrics are three series each.
    assert len(rows) == limit // 3 + 1
    assert sum(row["fields"]["packets"] for row in rows) == sum(range(1, 13))
    assert rest["fields"]["packets"] < sum(range(1, 13))


def test_nothing_is_written(flows, tmp_path):
    """Not even a state directory is created."""
    dumped("--map-path", flows.map, environ={"XDP_OTEL_STATE_DIR": str(tmp_path / "state")})

    assert list(tmp_path.glob("state*")) == []


def test_a_closed_output_is_not_a_bug(flows):
    """The parent process may have closed it."""
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "sidecar", "dump", "--map-path", flows.map],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_stops_early_is_not_an_error(flows):
    """`xdp-otel dump | head -1` ends quietly, with SIGPIPE's code, as other programs do."""
    for at in range(200):
        flows.send(f"192.0.2.{at}", TCP, 1)
    script = 'set +o pipefail; "$@" | true; echo "${PIPESTATUS[0]}"'
    command = [
        "bash",
        "-c",
        script,
        "-",
        sys.executable,
        "-u",
        "-m",
        "sidecar",
        "dump",
        "--map-path",
        flows.map,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("141\n", "")
