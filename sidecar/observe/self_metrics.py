# SPDX-License-Identifier: Apache-2.0
"""
The names of the sidecar's metrics about itself: by OTLP, and so in Prometheus too.

They are in a namespace of their own, since `otel.` is OpenTelemetry's (semantic conventions, "Naming").

Our Collector and the status endpoint put `xdp_` before a name and `_` for each dot, as for the counts;
Prometheus' own OTLP receiver appends the unit and, to a counter, `_total`. The words follow the semantic
conventions: `usage` of a `limit`, `time` that was spent. Units are UCUM; `1` is none of them: Prometheus
would call a gauge with it a `_ratio`.
"""

from typing import Literal, NamedTuple


class SelfMetric(NamedTuple):
    """
    One of them.

    Attributes:
        name: By OTLP.
        kind: As Prometheus calls it; a counter is a monotonic sum.
        unit: UCUM.
        help: One sentence.
        labels: Names of its attributes.

    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    help: str
    labels: tuple[str, ...] = ()


_OF_PROGRAM = ("xdp.program.name", "xdp.program.id", "network.interface.name")
_SINCE = "of a program whose map is read, since the sidecar started."

SELF_METRICS = {
    metric.name: metric
    for metric in (
        SelfMetric("xdp.otel.build.info", "gauge", "{build}", "Running version.", ("version",)),
        SelfMetric(
            "xdp.otel.map.info",
            "gauge",
            "{map}",
            "Map that a source reads.",
            ("source", "map", "id", "type"),
        ),
        SelfMetric("xdp.otel.map.entry.usage", "gauge", "{entry}", "Entries of a source's map.", ("source",)),
        SelfMetric(
            "xdp.otel.map.entry.limit", "gauge", "{entry}", "Most entries of a source's map.", ("source",)
        ),
        SelfMetric(
            "xdp.otel.ready",
            "gauge",
            "{sidecar}",
            "Whether all sources are read and the journal is written.",
        ),
        SelfMetric(
            "xdp.otel.interfaces",
            "gauge",
            "{interface}",
            "Interfaces that patterns choose, by state.",
            ("state",),
        ),
        SelfMetric(
            "xdp.otel.source.stale",
            "gauge",
            "{source}",
            "Whether a source does not read what stands at its place.",
            ("source",),
        ),
        SelfMetric("xdp.otel.stage.runs", "counter", "{run}", "Runs of a stage.", ("stage",)),
        SelfMetric("xdp.otel.stage.time", "counter", "s", "Time spent in a stage, seconds.", ("stage",)),
        SelfMetric("xdp.otel.read.errors", "counter", "{error}", "Failed reads by kind.", ("kind",)),
        SelfMetric("xdp.otel.batches", "counter", "{batch}", "Attempts to send by outcome.", ("outcome",)),
        SelfMetric("xdp.otel.batch.age", "gauge", "s", "Age of the unacknowledged batch, seconds."),
        SelfMetric(
            "xdp.otel.points.rejected", "counter", "{data_point}", "Points that the Collector rejected."
        ),
        SelfMetric("xdp.otel.entries.emptied", "counter", "{entry}", "Entries whose counters were reset."),
        SelfMetric(
            "xdp.otel.counters.fallen",
            "counter",
            "{counter}",
            "Counters that fell while others of their entry did not.",
        ),
        SelfMetric("xdp.otel.keys.vanished", "counter", "{key}", "Keys that are no longer there."),
        SelfMetric("xdp.otel.series.usage", "gauge", "{series}", "Series of a source.", ("source",)),
        SelfMetric("xdp.otel.series.limit", "gauge", "{series}", "Most series of a source.", ("source",)),
        SelfMetric(
            "xdp.otel.series.overflowed",
            "gauge",
            "{series}",
            "Series aggregated into the overflow series.",
            ("source",),
        ),
        SelfMetric("xdp.otel.series.forgotten", "counter", "{series}", "Series dropped in favor of others."),
        SelfMetric("xdp.otel.journals.lost", "counter", "{journal}", "Maps whose journal was lost."),
        SelfMetric("xdp.otel.journal.size", "gauge", "By", "Size of the journal, bytes."),
        SelfMetric("xdp.otel.cpu.time", "counter", "s", "CPU time of the sidecar, seconds."),
        SelfMetric("xdp.otel.memory.usage", "gauge", "By", "Resident memory of the sidecar, bytes."),
        SelfMetric("xdp.program.runs", "counter", "{run}", f"Runs {_SINCE}", _OF_PROGRAM),
        SelfMetric("xdp.program.run_time", "counter", "ns", f"Time of the runs {_SINCE}", _OF_PROGRAM),
    )
}
