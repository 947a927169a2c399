# SPDX-License-Identifier: Apache-2.0
"""Fleet: all nodes at a glance, and those that need attention."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.frame import FLEET, OVERVIEW, SIDECARS, address, dashboard, jobs, nodes
from dashboards.overview import BYTES_COUNTED, PACKETS
from dashboards.panels import (
    BITS_PER_SECOND,
    EXACT,
    PACKETS_PER_SECOND,
    SECONDS,
    Column,
    Panel,
    Query,
    lines,
    number,
    ranking,
    rows,
)
from dashboards.promql import NODE, NODES, READ, SELECTED, own_series, per_second, summed

CYCLES = f"increase({own_series('stage_runs_total', READ)}[5m])"
"""Reads of a sidecar in five minutes. When it is gone, its gauges stay but this falls to 0."""

SILENT = f"({CYCLES} == bool 0)"
NOT_READY = f"({own_series('ready')} == bool 0)"


def fleet() -> Dashboard:
    """Return the dashboard of all nodes."""
    return dashboard(
        FLEET,
        "XDP fleet",
        "All nodes, and which of them need a look.",
        variables=[jobs(), nodes()],
        rows={"Now": _now(), "Nodes": _course()},
    )


def _now() -> list[Panel]:
    red = [(1.0, "red")]
    return [
        number("Nodes", "Nodes with a sidecar.", EXACT, f"count (group by (host_name) ({NODES}))"),
        number(
            "Silent sidecars",
            "Have read nothing for 5 minutes, or could not say so.",
            EXACT,
            summed(SILENT),
            steps=red,
        ),
        number(
            "Not ready", "Could not read a map or write the journal.", EXACT, summed(NOT_READY), steps=red
        ),
        number(
            "Alerts",
            "Alerts of this project that fire now.",
            EXACT,
            'count (ALERTS{alertname=~"Xdp.+",alertstate="firing"}) or vector (0)',
            steps=red,
        ),
        number("Packets", "All nodes together.", PACKETS_PER_SECOND, _per_second(PACKETS)),
        number("Bandwidth", "All nodes together.", BITS_PER_SECOND, f"8 * {_per_second(BYTES_COUNTED)}"),
    ]


def _course() -> list[Panel]:
    packets, size = (_per_second(counter, NODE) for counter in (PACKETS, BYTES_COUNTED))
    return [
        lines(
            "Sidecars",
            "Known are those whose counters the Collector still serves: a day by default.",
            EXACT,
            Query(f"count ({NODES})", "known"),
            Query(summed(f"({CYCLES} > bool 0)"), "reading"),
            Query(summed(f"({own_series('ready')} == bool 1)"), "ready"),
        ),
        lines(
            "Packets by node",
            "The 20 with the most packets at each moment.",
            PACKETS_PER_SECOND,
            Query(f"topk (20, {packets})", "{{host_name}}"),
        ),
        ranking(
            "Top nodes",
            "The 10 with the most packets.",
            PACKETS_PER_SECOND,
            Query(f"sort_desc (topk (10, {packets}))", "{{host_name}}"),
        ),
        ranking(
            "Top nodes by bandwidth",
            "The 10 with the most bits.",
            BITS_PER_SECOND,
            Query(f"sort_desc (topk (10, 8 * {size}))", "{{host_name}}"),
        ),
        rows(
            "All nodes",
            "The name leads to a node's interfaces, its packets to its sidecar.",
            {NODE: "Node"},
            [
                Column("Packets/s", packets, PACKETS_PER_SECOND),
                Column("Bits/s", f"8 * {size}", BITS_PER_SECOND),
                Column("Packets counted", summed(f"{PACKETS}{{{SELECTED}}}", NODE), EXACT),
                Column("Silent", summed(SILENT, NODE), EXACT, [(1.0, "red")]),
                Column("Not ready", summed(NOT_READY, NODE), EXACT, [(1.0, "red")]),
                Column(
                    "Unacknowledged",
                    summed(own_series("unacknowledged_seconds"), NODE),
                    SECONDS,
                    [(60.0, "orange"), (300.0, "red")],
                ),
            ],
            links={"Node": address(OVERVIEW, node="Node"), "Packets/s": address(SIDECARS, node="Node")},
        ),
    ]


def _per_second(counter: str, *by: str) -> str:
    return per_second(counter, *by, selector=SELECTED)
