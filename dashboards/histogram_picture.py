# SPDX-License-Identifier: Apache-2.0
"""
The picture in docs/histograms.md: a real map, Collector and Prometheus, and what the samples were.

    python -m dashboards.histogram_picture

needs root and takes a minute.
"""

import json
import os
import random
import struct
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from demo import stack
from demo.bpf_commands import map_create, map_update
from demo.ports import Ports
from demo.prometheus import config, fetch
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi

PICTURE = Path(__file__).parents[1] / "docs/images/histogram.png"
SECONDS, SLOTS = 50, 27
QUANTILES = {0.5: "#1f60c4", 0.99: "#c4421f"}
_CONFIG = """
sources:
  - pin: {pin}
    layout: {{key: {{device: u32, slot: u32}}, value: u64}}
    metrics:
      - name: my.delay
        field: value
        kind: histogram
        bucket: slot
        sum: {slots}
        buckets: log2
        scale: 1e-9
        unit: s
"""


def main() -> None:
    """Count delays for a minute, ask Prometheus, draw."""
    stack.mount_bpffs()
    fd = map_create(uapi.MAP_HASH, key_size=8, value_size=8, max_entries=64, name="delays")
    pin = Path("/sys/fs/bpf") / f"picture-{uuid.uuid4().hex[:12]}"
    bpf.obj_pin(fd, str(pin))
    try:
        with tempfile.TemporaryDirectory() as directory:
            _draw(*_run(fd, pin, Path(directory)))
    finally:
        pin.unlink()
        os.close(fd)


def _run(fd: int, pin: Path, directory: Path) -> tuple[list[tuple[float, int]], dict[str, Any]]:
    """Return the samples, each with its time, and the answers to the queries."""
    sources, ports = directory / "sources.yaml", Ports.free()
    sources.write_text(_CONFIG.format(pin=pin, slots=SLOTS))
    with ExitStack() as stopped:
        stopped.enter_context(stack.collector(directory, ports))
        prometheus = stack.prometheus(directory, ports)
        settings = json.loads(config(ports))
        settings["scrape_configs"][0] |= {
            "scrape_native_histograms": True,
            "convert_classic_histograms_to_nhcb": True,
            "always_scrape_classic_histograms": True,
        }
        (directory / "prometheus.yml").write_text(json.dumps(settings))
        stopped.enter_context(prometheus)
        stopped.enter_context(stack.reader(directory, ports, "--config", str(sources)))
        samples = _count(fd)
        queries = {
            "buckets": "sum by (le) (increase(xdp_my_delay_bucket[5s]))",
            **{
                f"classic {at}": f"histogram_quantile({at}, rate(xdp_my_delay_bucket[5s]))"
                for at in QUANTILES
            },
            **{f"native {at}": f"histogram_quantile({at}, rate(xdp_my_delay[5s]))" for at in QUANTILES},
        }
        start, end = samples[0][0] + 6, samples[-1][0]
        return samples, {name: _range(ports, query, start, end) for name, query in queries.items()}


def _count(fd: int) -> list[tuple[float, int]]:
    """Count delays around 40 µs, for a while ten times as long; a few are a hundred times as long."""
    chance = random.Random(3)  # noqa: S311
    counts, total = [0] * SLOTS, 0
    samples: list[tuple[float, int]] = []
    begin = time.time()
    while (passed := time.time() - begin) < SECONDS:
        slow = 10 if 0.35 < passed / SECONDS < 0.65 else 1
        for _ in range(100):
            tail = 100 if chance.random() < 0.015 else 1
            delay = int(chance.lognormvariate(0, 0.5) * 40_000 * slow * tail)
            samples.append((time.time(), delay))
            counts[min(max(delay, 1).bit_length() - 1, SLOTS - 1)] += 1
            total += delay
        for slot, count in (*enumerate(counts), (SLOTS, total)):
            map_update(fd, struct.pack("=II", 8, slot), struct.pack("=Q", count))
        time.sleep(0.2)
    return samples


def _range(ports: Ports, query: str, start: float, end: float) -> list[dict[str, Any]]:
    asked = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": 1})
    answer = fetch(f"http://127.0.0.1:{ports.prometheus}/api/v1/query_range?{asked}")
    found: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
    return found


def _draw(samples: Sequence[tuple[float, int]], answers: dict[str, Any]) -> None:
    begin = samples[0][0]
    figure, axis = plt.subplots(figsize=(10, 4.5), layout="constrained")
    bounds = sorted((float(each["metric"]["le"]), dict(each["values"])) for each in answers["buckets"])
    times = sorted({at for _, values in bounds for at in values})
    edges = [bounds[0][0] / 2, *(bound for bound, _ in bounds[:-1])]
    cells = []
    below: dict[float, float] = {}
    for _, values in bounds[:-1]:
        cells.append([float(values.get(at, 0)) - below.get(at, 0) for at in times])
        below = {at: float(values.get(at, 0)) for at in times}
    mesh = axis.pcolormesh([at - begin for at in (*times, times[-1] + 1)], edges, cells, cmap="Blues")
    figure.colorbar(mesh, label="observations in 5 s, by bucket")
    for quantile, color in QUANTILES.items():
        name, exact = f"p{quantile * 100:.0f}", []
        for at in times:
            window = sorted(delay for when, delay in samples if at - 6 < when <= at - 1)
            exact.append(window[int(quantile * len(window))] / 1e9 if window else None)
        seconds = [at - begin for at in times]
        axis.plot(seconds, exact, color=color, lw=5, alpha=0.3, label=f"{name} of the samples")
        for form, style in (("classic", "-"), ("native", ".")):
            (series,) = answers[f"{form} {quantile}"]
            xs, ys = zip(*series["values"], strict=True)
            seconds = [x - begin for x in xs]
            axis.plot(seconds, list(map(float, ys)), style, color=color, label=f"{name}, {form}")
    axis.set(yscale="log", ylim=(4e-6, 2e-1), xlabel="seconds", ylabel="my.delay, s")
    axis.legend(ncols=2, fontsize=8, loc="upper left")
    axis.set_title(
        "A map of log2 buckets in Prometheus: heat map, and histogram_quantile of classic and native",
        fontsize=10,
    )
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
