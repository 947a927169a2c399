# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: the sources change under traffic, and the Collector has what the kernel counted, to the packet."""

import os
import signal
import subprocess
import uuid
from collections import Counter as Sums
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo import stack
from demo.ports import Ports
from demo.prometheus import fetch
from scale.counts import Counter
from tests.e2e.test_any_map import served, sidecar
from tests.waiting import answered, settled

SOURCE = """\
  - pin: {pin}
    attributes: {{origin: {origin}, site: {site}}}
    layout: {{value: {{{field}: u64, bytes: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64}}}}
    metrics: [{{name: {metric}, field: {field}, unit: "{{packet}}"}}]
"""


def source(counter, origin, *, site="here", field="packets", metric="reload.packets"):
    return SOURCE.format(pin=counter.pin, origin=origin, site=site, field=field, metric=metric)


@pytest.fixture
def counters():
    """Two maps that keep counting until they are held."""
    with ExitStack() as cleanup:
        yield [
            cleanup.enter_context(Counter(Path("/sys/fs/bpf") / f"test-{uuid.uuid4().hex[:12]}"))
            for _ in "ab"
        ]


class Reloading:
    """A sidecar whose configuration file changes."""

    def __init__(self, service, directory):
        self.service = service
        self._config = directory / "sources.yaml"
        self._log = directory / "sidecar.log"

    def write(self, *sources):
        self._config.write_text("sources:\n" + "".join(sources))

    def reload(self, *sources, result="reloaded: "):
        """Change the file and send SIGHUP; return once the log has one more line with the result."""
        before = self.lines(result)
        self.write(*sources)
        self.hang_up()
        answered(lambda: len(self.lines(result)) > len(before))

    def hang_up(self):
        os.kill(self.service.process.pid, signal.SIGHUP)

    def lines(self, text):
        return [line for line in self._log.read_text().splitlines() if text in line]


@pytest.fixture
def ports():
    return Ports.free()


@pytest.fixture
def reloading(tmp_path, ports, counters):
    """A sidecar that reads the first counter, not started yet."""
    service = sidecar(tmp_path, ports, "--config", str(tmp_path / "sources.yaml"))
    made = Reloading(service, tmp_path)
    made.write(source(counters[0], "a"))
    yield made
    service.stop()


def sums(ports, metric="xdp_reload_packets"):
    """Return the sum of the Collector's samples by origin."""
    total = Sums()
    for (name, (origin, *_)), value in served(ports, metric).items():
        assert name.startswith(metric)
        total[origin] += int(value)
    return dict(total)


def truth(counters):
    for counter in counters:
        counter.hold()
    return {origin: counter.truth["total_packets"] for origin, counter in zip("ab", counters, strict=True)}


def test_no_count_is_lost_or_doubled_by_reloads_under_traffic(tmp_path, ports, counters, reloading):
    """Sources added, changed, removed, brought back, and refused as a whole."""
    a, b = counters
    with stack.collector(tmp_path, ports):
        reloading.service.start()
        answered(lambda: sums(ports).get("a"))
        reloading.reload(source(a, "a"), source(b, "b"))
        answered(lambda: sums(ports).get("b"))
        reloading.reload(source(a, "a", site="there"), source(b, "b"))
        reloading.reload(source(a, "a", site="there", field="frames"), source(b, "b"))
        reloading.reload(source(a, "a", site="there"))
        missing = source(a, "a").replace(str(a.pin), f"{a.pin}-missing")
        for refused in (missing + source(b, "b"), "  - pim: x\n", source(a, "a", field="packets") * 2):
            reloading.reload(source(a, "a", site="nowhere"), refused, result="reload refused")
        reloading.reload(source(a, "a"), source(b, "b"))
        reloading.reload(source(a, "a"), source(b, "b"), result="has not changed")
        expected = truth(counters)

        assert settled(lambda: sums(ports), expected) == expected
        sites = {labels[1] for _, labels in served(ports, "xdp_reload_packets")}
        assert sites == {"here", "there"}
        assert not reloading.lines("WARNING"), reloading.lines("WARNING")

        # What the journal has is what the memory had.
        reloading.service.kill()
        reloading.service.start()
        assert settled(lambda: sums(ports), expected) == expected


def test_a_pending_batch_is_delivered_first(tmp_path, ports, counters, reloading):
    """Without a Collector the new configuration waits; both sides of the change are counted once."""
    a, b = counters
    reloading.service.start()
    answered(lambda: reloading.lines("not acknowledged"))
    reloading.reload(source(b, "b"), result="the new configuration waits until batch 1 is acknowledged")
    reloading.reload("  - pim: x\n", result="reload refused")
    reloading.reload(source(b, "b"), result="the new configuration waits until batch 1 is acknowledged")
    before = a.truth["total_packets"]
    with stack.collector(tmp_path, ports):
        answered(lambda: reloading.lines("reloaded: sources added or changed: 1, removed: 1, now: 1"))
        counted = sums(ports)["a"]
        assert counted >= before
        reloading.reload(source(b, "b"), source(a, "a"))
        expected = truth(counters)
        assert settled(lambda: sums(ports), expected) == expected


def test_totals_without_a_state_directory_or_collector(tmp_path, counters):
    """With `--otel-endpoint none`, the status page has what the kernel counted and no removed source."""
    a, b = counters
    port = Ports.free().telemetry
    config, log = tmp_path / "sources.yaml", tmp_path / "sidecar.log"
    options = ["--interval", "0.2", "--otel-endpoint", "none", "--status-address", f"127.0.0.1:{port}"]
    config.write_text("sources:\n" + source(a, "a"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [stack.SIDECAR, "--config", config, "--state-dir", tmp_path / "state", *options], stderr=output
        )
    try:
        answered(lambda: 'origin="a"' in fetch(f"http://127.0.0.1:{port}/metrics"))
        config.write_text("sources:\n" + source(b, "b"))
        process.send_signal(signal.SIGHUP)
        expected = truth(counters)
        sample = f'xdp_reload_packets{{origin="b",site="here"}} {expected["b"]}'
        answered(lambda: sample in fetch(f"http://127.0.0.1:{port}/metrics"))
        assert str(a.pin) not in fetch(f"http://127.0.0.1:{port}/metrics")
    finally:
        process.terminate()
        assert process.wait(10) == 0, log.read_text()
