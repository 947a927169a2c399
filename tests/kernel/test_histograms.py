# SPDX-License-Identifier: Apache-2.0
"""Buckets and rows of real maps, by the names in their BTF: every number is bpftool's."""

import json
import struct

import pytest

from demo.bpf_commands import map_update
from sidecar.kernel.cpus import possible_cpus
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.user_program import bpftool, xdp_otel

CPUS = len(possible_cpus())


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    """The maps of maps/buckets.bpf.c, loaded."""
    path = compile_object(MAPS / "buckets.bpf.c", tmp_path_factory.mktemp("bpf") / "buckets.o")
    with Loaded(path) as loaded:
        yield loaded


@pytest.fixture
def dumped(buckets, make_pin, tmp_path):
    """Return the rows that dump has of a map with some metrics, and what bpftool has of the same map."""

    def dump(name, metrics):
        pin = make_pin(buckets.maps[name])
        config = tmp_path / "sources.yaml"
        config.write_text(f"sources: [{{pin: {pin}, metrics: [{metrics}]}}]")
        entries = bpftool("map", "dump", "pinned", pin)
        rows = json.loads(xdp_otel("dump", "--json", "--config", config))
        return rows, [entry["formatted"] for entry in entries]

    return dump


def test_the_elements_of_an_array_in_the_value(buckets, dumped):
    """bcc's struct hist, with text beside it."""
    map_update(buckets.maps["runq"], struct.pack("=I", 7), struct.pack("=27I16s", *range(27), b"sh"))

    (row,), (entry,) = dumped("runq", "{name: runq, field: slots, kind: histogram, buckets: log2}")

    assert row["attributes"] == {"key": 7}
    assert list(row["fields"].values()) == entry["value"]["slots"]


def test_the_bucket_in_the_key(buckets, dumped):
    """ebpf_exporter's labels and bucket, the sum in one more; padding in the key makes no other series."""
    for op, bucket, count in [(1, 3, 5), (1, 5, 10), (1, 28, 6170), (2, 0, 1), (2, 40, 2)]:
        key = struct.pack("=IB3sQ", 8 << 20, op, b"\0xy", bucket)
        map_update(buckets.maps["bio_latency"], key, struct.pack("=Q", count))

    metric = "{name: bio, field: value, kind: histogram, bucket: bucket, buckets: log2, sum: 28}"
    rows, entries = dumped("bio_latency", metric)

    counted = {
        (row["attributes"]["op"], int(name.partition("[")[2][:-1])): count
        for row in rows
        for name, count in row["fields"].items()
        if count
    }
    # A bucket beyond the sum's counts in the last one.
    assert counted == {
        (entry["key"]["op"], min(entry["key"]["bucket"], 27 + (entry["key"]["bucket"] == 28))): entry["value"]
        for entry in entries
    }
    assert len(rows) == 2


def test_the_rows_of_an_array_are_buckets(buckets, dumped):
    """bcc's BPF_HISTOGRAM: as many buckets as rows, summed over the CPUs."""
    for row in (0, 9, 63):
        value = struct.pack(f"={CPUS}Q", *range(row, row + CPUS))
        map_update(buckets.maps["dist"], struct.pack("=I", row), value)

    (row,), entries = dumped(
        "dist", "{name: dist, field: value, kind: histogram, bucket: key, buckets: log2}"
    )

    expected = [sum(cpu["value"] for cpu in entry["values"]) for entry in entries]
    assert list(row["fields"].values()) == expected


def test_a_row_by_the_name_of_an_enum(buckets, dumped):
    """As BTF has it."""
    for number, count in enumerate((10, 20, 30)):
        map_update(buckets.maps["verdicts"], struct.pack("=I", number), struct.pack("=Q", count))
    metrics = "{name: dropped, field: value, at: DROPPED}, {name: open, field: value, at: 2, kind: gauge}"

    (row,), _ = dumped("verdicts", metrics)

    assert (row["attributes"], row["fields"]) == ({}, {"value@DROPPED": 20, "value@2": 30})
