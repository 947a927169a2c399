# SPDX-License-Identifier: Apache-2.0
"""Sidecars: their own health."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health
from dashboards.alerts import threshold
from dashboards.frame import SIDECARS, dashboard, jobs, nodes
from dashboards.health import LATE, RED
from dashboards.panels import (
    BYTES,
    EXACT,
    PER_SECOND,
    PERCENT,
    SECONDS,
    Column,
    Panel,
    Query,
    lines,
    number,
    rows,
)
from dashboards.promql import INTERFACE, NODE, READ, SELECTED, own, own_recent, own_series, per_second, summed

WAITING = "{{host_name}} {{instance}}"
SOURCE = "{{host_name}} {{source}}"
_PROGRAM = "{{host_name}} {{xdp_program_name}} {{network_interface_name}}"


def sidecars() -> Dashboard:
    """Return the dashboard of the sidecars' own metrics (`--self-metrics`)."""
    return dashboard(
        SIDECARS,
        "XDP sidecars",
        "The health of the sidecars, from their own metrics (--self-metrics).",
        variables=[jobs(), nodes()],
        rows={"Now": _now(), "Reading": _reading(), "Sending": _sending(), "Series and maps": _series()},
    )


def _now() -> list[Panel]:
    return [
        health.not_ready(),
        health.silent_nodes(),
        number(
            "Oldest batch",
            "How long the oldest batch has been waiting for its acknowledgement.",
            SECONDS,
            f"max ({summed(own_series('batch.age'), NODE)})",
            steps=LATE,
        ),
        number(
            "Failed reads",
            "Within the time range.",
            EXACT,
            f"round ({own_recent('read.errors')})",
            steps=RED,
        ),
        number(
            "Points rejected",
            "Rejected by the Collector permanently, within the time range: their counts are lost.",
            EXACT,
            f"round ({own_recent('points.rejected')})",
            steps=RED,
        ),
        number(
            "Journals lost",
            "Maps that had been reported and whose journal is gone, within the time range.",
            EXACT,
            f"round ({own_recent('journals.lost')})",
            steps=RED,
        ),
    ]


def _reading() -> list[Panel]:
    seconds, runs = own("stage.time", "stage"), own("stage.runs", "stage")
    return [
        lines(
            "Time per run of a stage",
            "Mean over all sidecars.",
            SECONDS,
            Query(f"{seconds} / ({runs} > 0)", "{{stage}}"),
        ),
        lines(
            "Time spent in stages",
            "As a share of one second; waiting for responses counts, too. The 20 busiest sidecars.",
            PERCENT,
            Query(f"topk (20, 100 * {own('stage.time', NODE, 'instance')})", WAITING),
        ),
        lines(
            "Cycles",
            "How often the sidecars read. The 20 slowest.",
            PER_SECOND,
            Query(f"bottomk (20, {own('stage.runs', NODE, 'instance', selector=READ)})", WAITING),
        ),
        lines(
            "CPU",
            "CPU time of the sidecars, as a share of one CPU. The 20 busiest.",
            PERCENT,
            Query(f"topk (20, 100 * {own('cpu.time', NODE, 'instance')})", WAITING),
        ),
        lines(
            "Memory",
            "Resident memory of the sidecars. The 20 largest.",
            BYTES,
            Query(f"topk (20, {summed(own_series('memory.usage'), NODE, 'instance')})", WAITING),
        ),
        lines(
            "Failed reads",
            "By kind: source (no such map, or one of another shape), rights, kernel.",
            PER_SECOND,
            Query(own("read.errors", "kind"), "{{kind}}"),
        ),
    ]


def _sending() -> list[Panel]:
    return [
        lines(
            "Attempts by outcome",
            "retry and refused: the batch is kept and resent. given_up: this batch may be lost; later counts "
            "are not.",
            PER_SECOND,
            Query(own("batches", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Age of the pending batch",
            "The 20 oldest. Nothing is lost while it grows: the kernel keeps counting.",
            SECONDS,
            Query(f"topk (20, {summed(own_series('batch.age'), NODE, 'instance')})", WAITING),
            steps=LATE,
        ),
        lines(
            "Journal",
            "Size of the journal. The 20 largest.",
            BYTES,
            Query(f"topk (20, {summed(own_series('journal.size'), NODE, 'instance')})", WAITING),
        ),
        lines(
            "Entries reset, keys gone",
            "The owner of a map resets or deletes entries, or a hash evicts them.",
            PER_SECOND,
            Query(own("entries.emptied"), "entries reset"),
            Query(own("keys.vanished"), "keys gone"),
        ),
    ]


def _series() -> list[Panel]:
    series, limit = (summed(own_series(name), NODE, "source") for name in ("series.usage", "series.limit"))
    return [
        lines(
            "Series in use",
            "Share of the limit. The 20 fullest sources. Above the limit, series are aggregated into one.",
            PERCENT,
            Query(f"topk (20, 100 * {series} / {limit})", SOURCE),
            steps=[(100 * threshold("XdpSeriesLimitNear"), "orange"), (100.0, "red")],
        ).max(100),
        lines(
            "Series above the limit, series evicted",
            "Above the limit: counted, but not told apart. Evicted: to make room, since their keys are gone.",
            EXACT,
            Query(summed(own_series("series.overflowed")), "above the limit"),
            Query(own_recent("series.forgotten"), "evicted within the time range"),
        ),
        lines(
            "Map entries",
            "Read in the last cycle. An array always has all of them; a full hash rejects new keys, or "
            "evicts. The 20 largest.",
            EXACT,
            Query(f"topk (20, {summed(own_series('map.entry.usage'), NODE, 'source')})", SOURCE),
            Query(
                f"topk (20, {summed(own_series('map.entry.limit'), NODE, 'source')})", f"{SOURCE}: maximum"
            ),
            width=24,
        ),
        lines(
            "Time per run of a program",
            "Mean, for each program whose map is read; for XDP, a run is a packet. Needs --program-stats. "
            "The 20 slowest.",
            SECONDS,
            Query(f"topk (20, 1e-9 * {_of_programs('run_time')} / ({_of_programs('runs')} > 0))", _PROGRAM),
            width=24,
        ),
        rows(
            "Maps",
            "What each sidecar reads.",
            {NODE: "Node", "source": "Source", "map": "Map", "id": "Id", "type": "Type"},
            [Column("Sidecars", summed(own_series("map.info"), NODE, "source", "map", "id", "type"), EXACT)],
            width=16,
        ),
        rows(
            "Versions",
            "Which versions run, and on how many nodes.",
            {"version": "Version"},
            [Column("Sidecars", summed(own_series("build.info"), "version"), EXACT)],
            width=8,
        ),
    ]


def _of_programs(count: str) -> str:
    """Return how fast a count of each program grows."""
    by = NODE, "xdp_program_name", INTERFACE
    return per_second(f"xdp_xdp_program_{count}", *by, selector=SELECTED)
