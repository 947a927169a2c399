# SPDX-License-Identifier: Apache-2.0
"""How the nodes are: the panels that several dashboards share, with the thresholds of the alerts."""

from dashboards.alerts import threshold, window
from dashboards.panels import EXACT, SECONDS, Column, Panel, Query, Steps, lines, number, rows, state
from dashboards.promql import NODE, NODES, READ, SELECTED, on_nodes, own_series, summed

RED: Steps = [(1.0, "red")]
ORANGE: Steps = [(1.0, "orange")]

LATE_S = threshold("XdpUnacknowledged")
LATE: Steps = [(LATE_S / 5, "orange"), (LATE_S, "red")]
"""Of an age, seconds: red once the alert fires."""

QUIET = window("XdpSidecarSilent")
READS = f"increase({own_series('stage.runs', READ)}[{QUIET}])"
"""Readings of a sidecar. When it is gone its gauges keep their values, but this falls to 0."""

SILENT = f"({READS} == bool 0)"
NOT_READY = f"({own_series('ready')} == bool 0)"

_CHOSEN = f'{SELECTED},host_name=~"$node"'
_GONE = f"xdp:node:info{{{_CHOSEN}}} offset 1h unless on (job, instance) xdp:node:info{{{_CHOSEN}}}"
_AGE = f"time() - xdp:node:delivered_time_seconds{{{_CHOSEN}}}"
# Some alerts are about no node.
_FIRING = 'alertname=~"Xdp.+",alertstate="firing",host_name=~"$node|"'


def critical_alerts() -> Panel:
    """Return the number of critical alerts."""
    return state("Critical alerts", "Counts are not taken or not visible.", EXACT, _firing("critical"), RED)


def warnings() -> Panel:
    """Return the number of other alerts."""
    return state("Warnings", "To be looked at today.", EXACT, _firing("warning"), ORANGE)


def nodes() -> Panel:
    """Return the number of nodes."""
    return number("Nodes", "Nodes with a sidecar.", EXACT, f"count (group by (host_name) ({NODES}))")


def silent_nodes() -> Panel:
    """Return the number of nodes that do not report, whether their last values are still served or not."""
    known = f"count ({NODES})"
    silent = f"count ({on_nodes(f'({READS} == 0)')} or {_GONE})"
    return state(
        "Silent nodes",
        f"No reading reported for {QUIET}, or gone within the last hour. What is shown for them is stale.",
        EXACT,
        f"{silent} or 0 * {known}",
        RED,
    )


def last_delivery() -> Panel:
    """Return the age of the last delivery of the node that has waited longest."""
    return state(
        "Last delivery",
        "Age of the last acknowledged batch, to a minute, on the node where it is oldest.",
        SECONDS,
        f"max ({_AGE})",
        LATE,
    )


def not_ready() -> Panel:
    """Return the number of sidecars that are not ready."""
    return state("Not ready", "Cannot read a map or write the journal.", EXACT, summed(NOT_READY), RED)


def delivery_ages() -> Panel:
    """Return the age of the last delivery by node."""
    return lines(
        "Age of the last delivery",
        "To a minute. The 20 oldest. Nothing is lost while it grows: the kernel keeps counting.",
        SECONDS,
        Query(f"topk (20, max by (host_name) ({_AGE}))", "{{host_name}}"),
        steps=LATE,
    )


def firing_alerts() -> Panel:
    """Return a table of the alerts that fire."""
    labels = {
        "severity": "Severity",
        "alertname": "Alert",
        NODE: "Node",
        "network_interface_name": "Interface",
    }
    firing = f"sum by ({', '.join(labels)}) (ALERTS{{{_FIRING}}})"
    return rows(
        "Alerts firing",
        "As of the end of the time range. Each has a runbook.",
        labels,
        [Column("Firing", firing, EXACT)],
        width=12,
        height=8,
    )


def _firing(severity: str) -> str:
    return f'count (ALERTS{{{_FIRING},severity="{severity}"}}) or vector (0)'
