# SPDX-License-Identifier: Apache-2.0
"""Histograms of known samples: each bucket in Prometheus is exact, classic and native, whatever is killed."""

import json
import math
import os
import random
import struct
import time
import uuid
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import pytest

from demo import stack
from demo.bpf_commands import map_create, map_update
from demo.ports import Ports
from demo.prometheus import ask, config
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.cpus import possible_cpus
from tests import waiting
from tests.e2e.test_any_map import INTERVAL_S, sidecar

CPUS = len(possible_cpus())
SLOTS = 20
# A bucket of 32 bits starts close to its wrap on every CPU.
NEARLY_AROUND = 2**32 - 3

CONFIG = """
sources:
  - pin: {pin}-sizes
    layout: {{key: {{queue: u32}}, value: {{bytes: u64, slots: "u32[{slots}]"}}}}
    metrics:
      - {{name: my.size, field: slots, kind: histogram, buckets: log2, sum: bytes, unit: By, as: {form}}}
  - pin: {pin}-delays
    layout: {{key: {{device: u32, slot: u32}}, value: u64}}
    metrics:
      - name: my.delay
        field: value
        kind: histogram
        bucket: slot
        sum: {slots}
        buckets: log2
        unit: s
        scale: 1e-6
"""


class Samples:
    """A per-CPU map with the buckets in its value, one with the bucket in its key, and what they counted."""

    def __init__(self, directory, form):
        stack.mount_bpffs()
        size = 8 + 4 * SLOTS
        self._sizes = map_create(
            uapi.MAP_PERCPU_HASH, key_size=4, value_size=size, max_entries=9, name="sizes"
        )
        self._delays = map_create(uapi.MAP_HASH, key_size=8, value_size=8, max_entries=99, name="delays")
        self.pin = f"/sys/fs/bpf/test-{uuid.uuid4().hex[:12]}"
        bpf.obj_pin(self._sizes, f"{self.pin}-sizes")
        bpf.obj_pin(self._delays, f"{self.pin}-delays")
        self.config = directory / "sources.yaml"
        self.config.write_text(CONFIG.format(pin=self.pin, slots=SLOTS, form=form))
        self.sizes = []
        self._of_cpu = [[0, [NEARLY_AROUND] * SLOTS] for _ in range(CPUS)]
        self._of_slot = [0] * (SLOTS + 1)
        self._write()

    def close(self):
        Path(f"{self.pin}-sizes").unlink()
        Path(f"{self.pin}-delays").unlink()
        os.close(self._sizes)
        os.close(self._delays)

    def observe(self, chance):
        """Count a few samples of any size up to beyond the last bound."""
        for _ in range(20):
            sample = chance.getrandbits(chance.randrange(1, SLOTS + 2)) or 1
            slot = slot_of(sample)
            cpu = chance.choice(self._of_cpu)
            cpu[0] += sample
            cpu[1][slot] = (cpu[1][slot] + 1) % 2**32
            self.sizes.append(sample)
            self._of_slot[slot] += 1
            self._of_slot[SLOTS] += sample
        self._write()

    def _write(self):
        values = (struct.pack(f"=Q{SLOTS}I", total, *slots) for total, slots in self._of_cpu)
        map_update(self._sizes, struct.pack("=I", 5), b"".join(values))
        for slot, count in enumerate(self._of_slot):
            if count:
                map_update(self._delays, struct.pack("=II", 8, slot), struct.pack("=Q", count))

    def size_counts(self):
        """The count of each bucket of my.size, those before the first sample included."""
        counts = [CPUS * NEARLY_AROUND] * SLOTS
        for sample in self.sizes:
            counts[slot_of(sample)] += 1
        return counts

    def delay_counts(self):
        """The count of each bucket of my.delay."""
        counts = [0] * SLOTS
        for sample in self.sizes:
            counts[slot_of(sample)] += 1
        return counts


def slot_of(sample):
    """The bucket of a sample: slot i counts 2^i to 2^(i+1)-1, the last one all that is larger."""
    return min(sample.bit_length() - 1, SLOTS - 1)


def at_most(counts):
    """The cumulative count of each bucket by its upper bound."""
    bounds = [*(2 ** (slot + 1) - 1 for slot in range(SLOTS - 1)), math.inf]
    return dict(zip(bounds, accumulate(counts), strict=True))


@pytest.fixture
def samples(tmp_path, request):
    made = Samples(tmp_path, getattr(request, "param", "explicit"))
    yield made
    made.close()


def prometheus(directory, ports, **scraping):
    """A Prometheus that scrapes the Collector, with other settings."""
    service = stack.prometheus(directory, ports)
    settings = json.loads(config(ports))
    settings["scrape_configs"][0] |= scraping
    (directory / "prometheus.yml").write_text(json.dumps(settings))
    return service


def classic(ports, name, scale=1):
    """The buckets of a classic histogram by upper bound, in the unit of the map."""
    return {
        round(bound / scale) if (bound := float(each["metric"]["le"])) < math.inf else bound: float(
            each["value"][1]
        )
        for each in ask(ports, f"{name}_bucket")
    }


def native(ports, name):
    """The buckets of a native histogram that counted: upper bound to count; and its count and sum."""
    found = ask(ports, name)
    if not found or "histogram" not in found[0]:
        return None
    histogram = found[0]["histogram"][1]
    buckets = {float(upper): float(count) for _, _, upper, count in histogram.get("buckets", ())}
    return buckets, float(histogram["count"]), float(histogram["sum"])


def single(ports, promql):
    """The value of a query with one result."""
    found = ask(ports, promql)
    return float(found[0]["value"][1]) if found else None


def between(samples, quantile):
    """The bounds of the bucket that a quantile is in."""
    ordered = sorted(samples)
    slot = slot_of(ordered[math.ceil(quantile * len(ordered)) - 1])
    return 2**slot - 1, 2 ** (slot + 1) - 1


def test_every_bucket_is_exact_through_kills(samples, tmp_path):
    """Collector and sidecar are killed, counters wrap: what Prometheus has is what was counted."""
    chance, ports = random.Random(5), Ports.free()  # noqa: S311
    with ExitStack() as stopped:
        collector = stopped.enter_context(stack.collector(tmp_path, ports))
        reader = stopped.enter_context(sidecar(tmp_path, ports, "--config", str(samples.config)))
        stopped.enter_context(prometheus(tmp_path, ports))
        # A bucket that wraps before it was ever read is not seen to wrap.
        waiting.answered(lambda: ask(ports, "xdp_my_size_count"))
        for turn in range(8):
            samples.observe(chance)
            if turn in (2, 5):
                collector.kill()
            if turn in (4, 5):
                reader.kill()
                reader.start()
            if turn in (3, 6):
                collector.start()
            time.sleep(3 * INTERVAL_S)

        expected = at_most(samples.size_counts())
        assert waiting.settled(lambda: classic(ports, "xdp_my_size"), expected) == expected
        expected = at_most(samples.delay_counts())
        assert waiting.settled(lambda: classic(ports, "xdp_my_delay", 1e-6), expected) == expected
        assert single(ports, "xdp_my_size_sum") == sum(samples.sizes)
        assert single(ports, "xdp_my_delay_sum") == pytest.approx(sum(samples.sizes) / 1e6, rel=1e-12)
        assert single(ports, "xdp_my_size_count") == sum(samples.size_counts())
        for quantile in (0.1, 0.5, 0.9):
            low, high = between(samples.sizes, quantile)
            found = single(ports, f"histogram_quantile({quantile}, xdp_my_delay_bucket)")
            assert low < round(found * 1e6, 6) <= high


@pytest.mark.parametrize("samples", ["exponential"], indirect=True)
def test_native_histograms(samples, tmp_path):
    """The exponential one, and the explicit one with custom bounds, through a restart of the Collector."""
    chance, ports = random.Random(6), Ports.free()  # noqa: S311
    scraping = {"scrape_native_histograms": True, "convert_classic_histograms_to_nhcb": True}
    with ExitStack() as stopped:
        collector = stopped.enter_context(stack.collector(tmp_path, ports))
        stopped.enter_context(sidecar(tmp_path, ports, "--config", str(samples.config)))
        stopped.enter_context(prometheus(tmp_path, ports, **scraping))
        waiting.answered(lambda: ask(ports, "xdp_my_size"))
        for turn in range(4):
            samples.observe(chance)
            if turn == 1:
                collector.kill()
                collector.start()
            time.sleep(3 * INTERVAL_S)

        counts = samples.size_counts()
        expected = (
            dict(enumerate_bounds(counts, lambda slot: 2 ** (slot + 1))),
            sum(counts),
            sum(samples.sizes),
        )
        assert waiting.settled(lambda: native(ports, "xdp_my_size"), expected) == expected
        counts = samples.delay_counts()
        bounds = dict(enumerate_bounds(counts, lambda slot: (2 ** (slot + 1) - 1) / 1e6))
        found = waiting.matching(
            lambda: native(ports, "xdp_my_delay"), lambda found: found and found[1] == sum(counts)
        )
        assert found[0] == bounds
        for quantile in (0.1, 0.5, 0.9):
            low, high = between(samples.sizes, quantile)
            found = single(ports, f"histogram_quantile({quantile}, xdp_my_delay)")
            assert low < round(found * 1e6, 6) <= high


def enumerate_bounds(counts, upper):
    """The upper bound and the count of each bucket that counted; the last explicit one has none."""
    for slot, count in enumerate(counts):
        if count:
            bound = upper(slot)
            yield (math.inf if isinstance(bound, float) and slot == SLOTS - 1 else bound), count
