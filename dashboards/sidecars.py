# SPDX-License-Identifier: Apache-2.0
"""Sidecars: their own health."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.fleet import NOT_READY, SILENT
from dashboards.frame import SIDECARS, dashboard, jobs, nodes
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
from dashboards.promql import NODE, READ, own, own_recent, own_series, summed

WAITING = "{{host_name}} {{instance}}"
SOURCE = "{{host_name}} {{source}}"


def sidecars() -> Dashboard:
    """Return the dashboard of the sidecars' own metrics (`--self-metrics`)."""
    return dashboard(
        SIDECARS,
        "XDP sidecars",
        "How the sidecars are doing, by what they say of themselves: --self-metrics.",
        variables=[jobs(), nodes()],
        rows={"Now": _now(), "Reading": _reading(), "Sending": _sending(), "Series and maps": _series()},
    )


def _now() -> list[Panel]:
    red = [(1.0, "red")]
    return [
        number(
            "Not ready", "Could not read a map or write the journal.", EXACT, summed(NOT_READY), steps=red
        ),
        number(
            "Silent",
            "Have read nothing for 5 minutes, or could not say so.",
            EXACT,
            summed(SILENT),
            steps=red,
        ),
        number(
            "Oldest batch",
            "How long the oldest batch has waited for its acknowledgement.",
            SECONDS,
            f"max ({summed(own_series('unacknowledged_seconds'), NODE)})",
            steps=[(60.0, "orange"), (300.0, "red")],
        ),
        number(
            "Failed reads",
            "In the time shown.",
            EXACT,
            f"round ({own_recent('read_errors_total')})",
            steps=red,
        ),
        number(
            "Points refused",
            "Refused by the Collector for good, in the time shown: these counts are lost.",
            EXACT,
            f"round ({own_recent('points_rejected_total')})",
            steps=red,
        ),
        number(
            "Journals lost",
            "Maps that had been reported by a journal that is gone, in the time shown.",
            EXACT,
            f"round ({own_recent('journals_lost_total')})",
            steps=red,
        ),
    ]


def _reading() -> list[Panel]:
    seconds, runs = own("stage_seconds_total", "stage"), own("stage_runs_total", "stage")
    return [
        lines(
            "Time for one run of a stage",
            "Mean over all sidecars.",
            SECONDS,
            Query(f"{seconds} / ({runs} > 0)", "{{stage}}"),
        ),
        lines(
            "Time spent in stages",
            "Share of one CPU at most; waiting for answers counts too. The 20 busiest sidecars.",
            PERCENT,
            Query(f"topk (20, 100 * {own('stage_seconds_total', NODE, 'instance')})", WAITING),
        ),
        lines(
            "Cycles",
            "How often the sidecars read. The 20 slowest.",
            PER_SECOND,
            Query(f"bottomk (20, {own('stage_runs_total', NODE, 'instance', selector=READ)})", WAITING),
        ),
        lines(
            "CPU",
            "CPU time of the sidecars themselves, share of one CPU. The 20 busiest.",
            PERCENT,
            Query(f"topk (20, 100 * {own('cpu_seconds_total', NODE, 'instance')})", WAITING),
        ),
        lines(
            "Memory",
            "Resident memory of the sidecars. The 20 largest.",
            BYTES,
            Query(f"topk (20, {summed(own_series('resident_bytes'), NODE, 'instance')})", WAITING),
        ),
        lines(
            "Failed reads",
            "By kind: source (no map, or another shape), rights, kernel.",
            PER_SECOND,
            Query(own("read_errors_total", "kind"), "{{kind}}"),
        ),
    ]


def _sending() -> list[Panel]:
    return [
        lines(
            "Attempts by what came of them",
            "retry and refused: kept, and sent again; given_up: this batch may be lost, "
            "what is counted from then on is not.",
            PER_SECOND,
            Query(own("batches_total", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Age of the batch under way",
            "The 20 oldest. The kernel keeps counting: nothing is lost while it grows.",
            SECONDS,
            Query(f"topk (20, {summed(own_series('unacknowledged_seconds'), NODE, 'instance')})", WAITING),
            steps=[(60.0, "orange"), (300.0, "red")],
        ),
        lines(
            "Journal",
            "Size of the journal. The 20 largest.",
            BYTES,
            Query(f"topk (20, {summed(own_series('journal_bytes'), NODE, 'instance')})", WAITING),
        ),
        lines(
            "Entries emptied, keys vanished",
            "A map that is emptied or replaced by its owner, or a hash that evicts.",
            PER_SECOND,
            Query(own("entries_emptied_total"), "entries emptied"),
            Query(own("keys_vanished_total"), "keys vanished"),
        ),
    ]


def _series() -> list[Panel]:
    series, limit = (summed(own_series(name), NODE, "source") for name in ("series", "series_limit"))
    return [
        lines(
            "Series against the limit",
            "The 20 fullest sources. Beyond the limit keys are counted together, in one series.",
            PERCENT,
            Query(f"topk (20, 100 * {series} / {limit})", SOURCE),
            steps=[(80.0, "orange"), (100.0, "red")],
        ).max(100),
        lines(
            "Keys beyond the limit, series forgotten",
            "Beyond the limit: counted, but no longer told apart. Forgotten: their keys are gone.",
            EXACT,
            Query(summed(own_series("series_overflowed")), "keys beyond the limit"),
            Query(own_recent("series_forgotten_total"), "series forgotten in the time shown"),
        ),
        lines(
            "Entries of maps",
            "Read in the last cycle. An array always has all; a hash that is full turns new keys away, or "
            "evicts. The 20 largest.",
            EXACT,
            Query(f"topk (20, {summed(own_series('map_entries'), NODE, 'source')})", SOURCE),
            Query(
                f"topk (20, {summed(own_series('map_max_entries'), NODE, 'source')})", f"{SOURCE}: room for"
            ),
            width=24,
        ),
        rows(
            "Maps",
            "What each sidecar reads.",
            {NODE: "Node", "source": "Source", "map": "Map", "id": "Id", "type": "Type"},
            [Column("Sidecars", summed(own_series("map_info"), NODE, "source", "map", "id", "type"), EXACT)],
            width=16,
        ),
        rows(
            "Versions",
            "What runs where.",
            {"version": "Version"},
            [Column("Sidecars", summed(own_series("build_info"), "version"), EXACT)],
            width=8,
        ),
    ]
