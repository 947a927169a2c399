# SPDX-License-Identifier: Apache-2.0
"""Fleet: all nodes at a glance, and those that need attention."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health
from dashboards.frame import FLEET, OVERVIEW, SIDECARS, address, dashboard, directions, jobs, nodes
from dashboards.health import LATE, NOT_READY, READS, RED, SILENT
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
from dashboards.promql import DIRECTED, NODE, NODES, own_series, per_second, summed


def fleet() -> Dashboard:
    """Return the dashboard of all nodes."""
    return dashboard(
        FLEET,
        "XDP fleet",
        "All nodes, and which of them need attention.",
        variables=[jobs(), nodes(), directions()],
        rows={"Now": _now(), "Nodes": _course()},
    )


def _now() -> list[Panel]:
    return [
        health.nodes(),
        health.silent_nodes(),
        health.not_ready(),
        health.last_delivery(),
        number("Packets", "Sum over all nodes.", PACKETS_PER_SECOND, _per_second(PACKETS)),
        number("Bandwidth", "Sum over all nodes.", BITS_PER_SECOND, f"8 * {_per_second(BYTES_COUNTED)}"),
    ]


def _course() -> list[Panel]:
    packets, size = (_per_second(counter, NODE) for counter in (PACKETS, BYTES_COUNTED))
    return [
        lines(
            "Sidecars",
            "Known: the Collector still serves their counters, by default for a day.",
            EXACT,
            Query(f"count ({NODES})", "known"),
            Query(summed(f"({READS} > bool 0)"), "reading"),
            Query(summed(f"({own_series('ready')} == bool 1)"), "ready"),
        ),
        lines(
            "Packets by node",
            "The 20 with the most packets at each point in time.",
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
            "The name links to the node's interfaces, its packets to its sidecar.",
            {NODE: "Node"},
            [
                Column("Packets/s", packets, PACKETS_PER_SECOND),
                Column("Bits/s", f"8 * {size}", BITS_PER_SECOND),
                Column("Packets counted", summed(f"{PACKETS}{{{DIRECTED}}}", NODE), EXACT),
                Column("Silent", summed(SILENT, NODE), EXACT, RED),
                Column("Not ready", summed(NOT_READY, NODE), EXACT, RED),
                Column(
                    "Unacknowledged",
                    summed(own_series("batch.age"), NODE),
                    SECONDS,
                    LATE,
                ),
            ],
            links={"Node": address(OVERVIEW, node="Node"), "Packets/s": address(SIDECARS, node="Node")},
        ),
    ]


def _per_second(counter: str, *by: str) -> str:
    return per_second(counter, *by, selector=DIRECTED)
