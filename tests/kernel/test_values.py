# SPDX-License-Identifier: Apache-2.0
"""What values hold besides a counter for each key, read from real maps as users configure it."""

import json
import random
import struct

import pytest

from demo.bpf_commands import map_update
from sidecar import cli
from sidecar.kernel.cpus import possible_cpus, stride
from tests.kernel.compiled import MAPS, Loaded, compile_object

CPUS = len(possible_cpus())


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """The maps of maps/values.bpf.c, loaded."""
    path = compile_object(MAPS / "values.bpf.c", tmp_path_factory.mktemp("bpf") / "values.o")
    with Loaded(path) as loaded:
        yield loaded


@pytest.fixture
def dump(values, make_pin, tmp_path, capsys):
    """Return the series of a map under some lines of configuration, as `dump --json` prints them."""

    def dumped(name, *lines):
        file = tmp_path / "c.yaml"
        pin = make_pin(values.maps[name])
        file.write_text("\n".join(["sources:", f"  - pin: {pin}", *(f"    {line}" for line in lines)]))
        assert cli.main(["dump", "--json", "--config", str(file)]) == 0
        return json.loads(capsys.readouterr().out)

    return dumped


def write(values, name, key, raws):
    """Write the value of each CPU."""
    padded = [raw.ljust(stride(len(raw)), b"\0") for raw in raws]
    map_update(values.maps[name], key, b"".join(padded))


def test_elements_of_arrays_of_structs_and_of_two_dimensions_are_summed_over_cpus(values, dump):
    """Each field of each element, at its place."""
    chance = random.Random(5)  # noqa: S311
    raws = []
    packets, grid = [0] * 1500, [0] * 1792
    for _ in range(CPUS):
        queues = [(chance.randrange(2**40), chance.randrange(9), chance.randrange(9)) for _ in range(1500)]
        hits = [chance.randrange(2**10) for _ in range(1792)]
        raws.append(struct.pack("=Q", 1) + b"".join(struct.pack("=QII", *queue) for queue in queues))
        raws[-1] += struct.pack("=1792H", *hits)
        packets = [total + queue[0] for total, queue in zip(packets, queues, strict=True)]
        grid = [total + hit for total, hit in zip(grid, hits, strict=True)]
    write(values, "queue_map", struct.pack("=I", 2), raws)

    (series,) = dump(
        "queue_map",
        "metrics:",
        "  - {name: queue.packets, field: queues.*.packets, index: queue}",
        "  - {name: hits, field: grid.*.*, index: [row, column]}",
    )

    assert series["attributes"] == {"key": 2}
    fields = series["fields"]
    assert [fields.pop(f"queues.{at}.packets") for at in range(1500)] == packets
    assert list(fields.values()) == grid


def test_addresses_are_decoded_as_programs_store_them(values, dump):
    """Four words, host order, mapped IPv4, a MAC in a number, part of a text."""
    words = bytes.fromhex("20010db8" + "00" * 11 + "01")
    mapped = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 9])
    key = (
        words
        + struct.pack("=I", 0xC0000207)
        + mapped
        + struct.pack("=4x6s2xQ16s", b"\2\0\0\0\0\1", 1, b"nginx: worker")
    )
    map_update(values.maps["flow_map"], key, struct.pack("=Q", 7))

    (series,) = dump(
        "flow_map",
        "key:",
        "  - {field: saddr, attribute: source.address, decoder: ipv6}",
        "  - {field: host, attribute: client.address, decoder: ipv4_host}",
        "  - {field: daddr, attribute: destination.address, decoder: ip}",
        "  - {field: mac, decoder: mac}",
        "  - {field: cgroup, decoder: cgroup}",
        "  - {field: comm, attribute: process.name, regexp: {match: ':.*', replace: ''}}",
    )

    attributes = series["attributes"]
    # Whichever cgroup has that inode.
    assert attributes.pop("cgroup") in ("1", "/")
    assert attributes == {
        "source.address": "2001:db8::1",
        "client.address": "192.0.2.7",
        "destination.address": "192.0.2.9",
        "mac": "02:00:00:00:00:01",
        "process.name": "nginx",
    }
    assert series["fields"] == {"value": 7}


def test_gauges_of_several_cpus_and_keys_are_what_the_configuration_says(values, dump):
    """The latest time, the earliest of CPUs that counted, the level of the last one; a counter is a sum."""
    form = "=QQQiI"
    for key, slots in ((1, [(5, 900, 100, -7, 1)]), (2, [(3, 400, 50, -3, 2), (4, 800, 70, 9, 0)])):
        raws = [struct.pack(form, *slot) for slot in slots[:CPUS]]
        raws += [bytes(struct.calcsize(form))] * (CPUS - len(raws))
        write(values, "gauge_map", struct.pack("=I", key), raws)

    (series,) = dump(
        "gauge_map",
        "key: []",
        "metrics:",
        "  - {name: packets, field: packets}",
        "  - {name: seen, field: last_seen, kind: gauge}",
        "  - {name: first, field: first_seen, kind: gauge, aggregate: min}",
        "  - {name: least, field: level, kind: gauge, aggregate: min}",
        "  - {name: level, field: level, kind: gauge, aggregate: last, by: last_seen}",
        "  - {name: phase, field: phase, kind: gauge, aggregate: max}",
    )

    assert series["fields"] == {
        "packets": 12 if CPUS > 1 else 8,
        "max(last_seen)": 900,
        "min(first_seen)": 50,
        "min(level)": -7,
        "last(level by last_seen)": -7,
        "max(phase)": 2,
    }


def test_a_name_and_an_address_beside_the_counters_are_labels(values, dump):
    """Whatever follows the NUL of the name; the key is an attribute as before."""
    address = bytes.fromhex("20010db8" + "00" * 11 + "07")
    raws = [struct.pack("=Q16s16s", 3 + cpu, b"nginx\0rubbish", address) for cpu in range(CPUS)]
    write(values, "process_map", struct.pack("=I", 77), raws)

    (series,) = dump(
        "process_map",
        "labels:",
        "  - {field: comm, attribute: process.name, decoder: string}",
        "  - {field: daddr, attribute: destination.address, decoder: ipv6}",
        "metrics:",
        "  - {name: packets, field: packets}",
    )

    assert series["attributes"] == {
        "key": 77,
        "process.name": "nginx",
        "destination.address": "2001:db8::7",
    }
    assert series["fields"] == {"packets": sum(3 + cpu for cpu in range(CPUS))}
