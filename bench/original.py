# SPDX-License-Identifier: Apache-2.0
"""
The original demo's method as a process: `python -m bench.original MAP_ID ENDPOINT CYCLES PAUSE`.

Each cycle runs bpftool for the list of maps and for the map's content, parses the JSON and exports it through
the OpenTelemetry SDK's instruments, reader and exporter. Prints JSON: CPU seconds of each cycle, including
children, those of the reads, and the resident memory.
"""

import json
import os
import sys
import time
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from bench.bpftool import read
from bench.measure import both_s, rss_mib, timed


def main() -> None:
    """Run the cycles."""
    map_id, endpoint, cycles, pause_s = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=True)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    provider = MeterProvider(metric_readers=[reader])
    counts = read(map_id)
    meter = provider.get_meter("original")

    def observe(field: str) -> Any:
        return lambda _: [Observation(counts[field])]

    for field in counts:
        meter.create_observable_counter(f"xdp.{field}", [observe(field)])
    # The rate is the original's ninth metric.
    meter.create_observable_gauge("xdp.packets.rate", [_rate])
    reader.collect()
    reads, wholes = [], []
    for _ in range(cycles):
        # The sidecar's interval, because cold CPU caches are part of the cost.
        time.sleep(pause_s)
        begun = both_s()
        reads.append(timed(lambda: counts.update(read(map_id)), both_s))
        reader.collect()
        wholes.append(both_s() - begun)
    print(json.dumps({"read": reads, "cycle": wholes, "rss_mib": [rss_mib(os.getpid())]}))  # noqa: T201
    provider.shutdown()


def _rate(_: CallbackOptions) -> list[Observation]:
    return [Observation(0.0)]


if __name__ == "__main__":
    main()
