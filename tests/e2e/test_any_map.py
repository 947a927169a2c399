# SPDX-License-Identifier: Apache-2.0
"""Maps of unknown programs: the Collector serves exactly what they counted, whatever is killed."""

import os
import random
import re
import struct
import subprocess
import time
import urllib.request
import uuid
from collections import Counter
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from demo import stack
from demo.bpf_commands import map_create, map_delete, map_update
from demo.ports import Ports
from demo.service import Service
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.cpus import possible_cpus
from tests import waiting

CPUS = len(possible_cpus())
INTERVAL_S = 0.2
# The initial value of a 32-bit counter: it wraps soon, yet never grows by 2**31 between two readings, even on
# a busy machine: in all twelve turns together it grows by less.
NEARLY_AROUND = 2**32 - 2**28

CONFIG = """
sources:
  - pin: {pin}
    attributes: {{site: here}}
    layout:
      key: {{address: be32, protocol: u8}}
      value: {{packets: u32, level: s32, bytes: u64}}
    key:
      - {{field: address, attribute: source.address, decoder: ipv4}}
      - {{field: protocol, attribute: network.transport, decoder: protocol}}
    metrics:
      - {{name: flow.packets, field: packets, unit: "{{packet}}"}}
      - {{name: flow.bytes, field: bytes, unit: By}}
      - {{name: flow.level, field: level, kind: updowncounter}}
"""
GAUGE = "      - {name: flow.now, field: level, kind: gauge}\n"
COUNTERS = ("xdp_flow_packets", "xdp_flow_bytes", "xdp_flow_level")
PROTOCOLS = {6: "tcp", 17: "udp"}


class Flows:
    """A pinned PERCPU_HASH of narrow, wide and signed fields, and its true totals."""

    def __init__(self, directory):
        self._fd = map_create(
            uapi.MAP_PERCPU_HASH, key_size=8, value_size=16, max_entries=10_000, name="flows"
        )
        stack.mount_bpffs()
        self.pin = Path("/sys/fs/bpf") / f"test-{uuid.uuid4().hex[:12]}"
        bpf.obj_pin(self._fd, str(self.pin))
        self.config = directory / "sources.yaml"
        self.config.write_text(CONFIG.format(pin=self.pin))
        self.truth = Counter()
        self._held = {}

    def close(self):
        self.pin.unlink()
        os.close(self._fd)

    def count(self, chance, host, protocol, network=2, first=0):
        """Count something for a flow on every CPU, packets from *first* on if it is new."""
        key = struct.pack("=BBBBBxxx", 192, 0, network, host, protocol)
        more_packets = 0 if key in self._held else first
        cpus = self._held.setdefault(key, [[0, 0, 0] for _ in range(CPUS)])
        for cpu in cpus:
            packets = more_packets + chance.randrange(2**27)
            more = packets, chance.randrange(2**40), chance.randrange(-1000, 1000)
            for at, name in enumerate(("packets", "bytes", "level")):
                cpu[at] += more[at]
                self.truth[name, f"192.0.{network}.{host}", PROTOCOLS[protocol]] += more[at]
        slots = (struct.pack("=IiQ", packets % 2**32, level, size) for packets, size, level in cpus)
        map_update(self._fd, key, b"".join(slots))

    def count_some(self, chance):
        """Count something for one flow of each of four hosts."""
        for host in (1, 2, 3, 4):
            self.count(chance, host, chance.choice(list(PROTOCOLS)))

    def expected(self):
        """Return the expected samples: metric and labels to value."""
        return {
            (f"xdp_flow_{name}", (protocol, "here", address)): count
            for (name, address, protocol), count in self.truth.items()
        }

    def delete(self, host, protocol):
        """Delete a flow; its counts stay in the truth."""
        key = struct.pack("=BBBBBxxx", 192, 0, 2, host, protocol)
        del self._held[key]
        map_delete(self._fd, key)


@pytest.fixture
def flows(tmp_path):
    made = Flows(tmp_path)
    yield made
    made.close()


def sidecar(directory, ports, *options, interval_s=INTERVAL_S):
    return Service(
        name="the sidecar",
        command=[
            *(str(stack.SIDECAR), "--state-dir", str(directory / "state"), "--interval", str(interval_s)),
            *("--base-point", "--otel-endpoint", f"127.0.0.1:{ports.otlp}", *options),
        ],
        env={"PATH": os.environ["PATH"]},
        log=directory / "sidecar.log",
        ready=lambda: True,
    )


def served(ports, prefix):
    """Return the Collector's samples: metric and labels, without job and instance, to value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=60) as answer:
        body = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^([a-z_]+)\{(.*)\} (\S+)$", body, re.MULTILINE):
        if name.startswith(prefix):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            found[name, tuple(pairs[label] for label in sorted(pairs.keys() - {"job", "instance"}))] = float(
                value
            )
    return found


def wrong(ports, prefix, expected, *, every_s=0.2):
    """
    Return the samples that differ, as (served, expected), once all agree or time is up.

    pytest must not compare two large dicts itself: in CI it explains the difference in full, for hours.
    """
    found = waiting.settled(lambda: served(ports, prefix), expected, 90, every_s=every_s)
    if isinstance(found, Exception):
        raise found
    return {
        name: (found.get(name), expected.get(name))
        for name in found.keys() | expected.keys()
        if found.get(name) != expected.get(name)
    }


@pytest.mark.parametrize("idle", [0, 5000], ids=["small", "large"])
def test_a_hash_of_narrow_wide_and_signed_fields_is_exact_through_kills(flows, tmp_path, idle):
    """Keys come and go, counters wrap, Collector and sidecar are killed: every series is exact."""
    chance = random.Random(7)  # noqa: S311
    ports = Ports.free()
    fill(flows, chance, idle)
    if not idle:
        # Gauges are always exported: with one of them, no series is omitted as idle.
        flows.config.write_text(flows.config.read_text() + GAUGE)
    with ExitStack() as stopped:
        collector = stopped.enter_context(stack.collector(tmp_path, ports))
        options = "--config", str(flows.config), "--status-address", f"127.0.0.1:{ports.prometheus}"
        reader = stopped.enter_context(sidecar(tmp_path, ports, *options))
        for host, protocol in product((1, 2, 3), PROTOCOLS):
            flows.count(chance, host, protocol, first=NEARLY_AROUND)
        # A counter that had wrapped before it was first read would lack its first turn around.
        assert wrong(ports, COUNTERS, flows.expected()) == {}
        for turn in range(12):
            flows.count_some(chance)
            if turn in (2, 6):
                collector.kill()
            if turn in (4, 6):
                reader.kill()
                reader.start()
            if turn == 8:
                for host, protocol in ((1, 6), (1, 17), (2, 6), (2, 17)):
                    flows.count(chance, host, protocol)
                # Counts that were not read before the delete are lost with the key.
                assert wrong(ports, COUNTERS, flows.expected()) == {}
                flows.delete(1, 6)
                flows.delete(2, 17)
                deleted_at = delivered(ports)
                waiting.answered(lambda at=deleted_at: delivered(ports) >= at + 2)
            if turn in (3, 7):
                collector.start()
            time.sleep(3 * INTERVAL_S)
        expected = flows.expected()
        amiss = wrong(ports, COUNTERS, expected)

    assert amiss == {}, (tmp_path / "sidecar.log").read_text()[-2000:]
    assert len(expected) >= 12


def test_idle_series_are_exported_again_after_a_collector_restart(flows, tmp_path):
    """Even if the restart falls between two calls and none fails."""
    ports, interval_s = Ports.free(), 4
    fill(flows, random.Random(3), 5000)  # noqa: S311
    expected = flows.expected()
    options = "--config", str(flows.config), "--status-address", f"127.0.0.1:{ports.prometheus}"
    with ExitStack() as stopped:
        collector = stopped.enter_context(stack.collector(tmp_path, ports))
        stopped.enter_context(sidecar(tmp_path, ports, *options, interval_s=interval_s))
        assert wrong(ports, COUNTERS, expected) == {}
        batches = delivered(ports)
        waiting.answered(lambda: delivered(ports) >= batches + 3)
        collector.kill()
        collector.start()

        assert wrong(ports, COUNTERS, expected) == {}
        assert "not acknowledged" not in (tmp_path / "sidecar.log").read_text()


def fill(flows, chance, count):
    """Count something once for *count* flows."""
    for number in range(count):
        flows.count(chance, number % 250, (6, 17)[number // 250 % 2], network=3 + number // 500)


def delivered(ports):
    """Return the number of acknowledged batches."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.prometheus}/metrics", timeout=10) as answer:
        body = answer.read().decode()
    found = re.search(r'^xdp_xdp_otel_batches\{.*"delivered".*\} (\d+)$', body, re.MULTILINE)
    return int(found.group(1))


def test_any_name_of_a_key_field_can_be_scraped(tmp_path):
    """Reserved label names are avoided: with one of them, Prometheus would reject the whole page."""
    ports = Ports.free()
    with ExitStack() as stopped:
        stopped.enter_context(stack.collector(tmp_path, ports))
        fd = map_create(uapi.MAP_HASH, key_size=4, value_size=8, max_entries=8, name="odd")
        stopped.callback(os.close, fd)
        map_update(fd, bytes([1, 2, 3, 4]), struct.pack("=Q", 7))
        config = tmp_path / "odd.yaml"
        config.write_text(
            f"sources: [{{id: {bpf.map_info(fd).id}, "
            "layout: {key: {__x: u8, job: u8, instance: u8, _: u8}, value: {packets: u64}}}]"
        )
        stopped.enter_context(sidecar(tmp_path, ports, "--config", str(config)))
        expected = {("xdp_odd_packets", ("4", "1", "3", "2")): 7}

        assert wrong(ports, "xdp_odd", expected) == {}


def test_a_hundred_thousand_keys_that_change_during_reads(tmp_path):
    """Read by id without a profile: every counter ends as bpftool dumps it, and none overflows."""
    keys, ports = 100_000, Ports.free()
    fd = map_create(uapi.MAP_PERCPU_HASH, key_size=4, value_size=8, max_entries=2 * keys, name="many")
    config = tmp_path / "many.yaml"
    config.write_text(
        f"sources: [{{id: {bpf.map_info(fd).id}, layout: {{key: {{flow: u32}}, value: {{packets: u64}}}}}}]"
    )
    chance = random.Random(11)  # noqa: S311
    with ExitStack() as stopped:
        stopped.callback(os.close, fd)
        collector = stack.collector(tmp_path, ports)
        # The default of 512 MiB is too little for this many series.
        collector.env = {**collector.env, "COLLECTOR_MEMORY_LIMIT_MIB": "1536"}
        stopped.enter_context(collector)
        started = sidecar(tmp_path, ports, "--config", str(config), interval_s=5)
        for number in range(keys):
            map_update(fd, struct.pack("=I", number), struct.pack(f"={CPUS}Q", *[number + 1] * CPUS))
        stopped.enter_context(started)
        for _ in range(60_000):
            number = chance.randrange(keys)
            counts = [number + 1 + chance.randrange(2**20)] * CPUS
            key = struct.pack("=I", number)
            before = struct.unpack(f"={CPUS}Q", bpf.map_lookup(fd, key, 8 * CPUS))
            map_update(fd, key, struct.pack(f"={CPUS}Q", *map(max, before, counts)))
        dump = subprocess.run(
            ["bpftool", "-j", "map", "dump", "id", str(bpf.map_info(fd).id)], check=True, capture_output=True
        )
        expected = {("xdp_many_packets", (str(key),)): count for key, count in dumped(dump.stdout).items()}
        amiss = wrong(ports, "xdp_many_packets", expected, every_s=5)

    assert len(expected) == keys
    assert amiss == {}
    assert "overflow" not in (tmp_path / "sidecar.log").read_text()


def dumped(text):
    """Parse `bpftool map dump -j` without BTF; return key to sum over the CPUs."""
    entries = re.findall(rb'\{"key":\[([^\]]*)\],"values":\[(.*?)\]\}\]\}', text)
    return {
        int.from_bytes(as_bytes(key), "little"): sum(
            int.from_bytes(as_bytes(value), "little") for value in re.findall(rb'"value":\[([^\]]*)', values)
        )
        for key, values in entries
    }


def as_bytes(listed):
    return bytes(int(byte, 16) for byte in re.findall(rb"0x([0-9a-f]{2})", listed))
