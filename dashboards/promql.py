# SPDX-License-Identifier: Apache-2.0
"""
The PromQL that the panels are made of.

A series that comes through the Collector has of its resource only `job` (service.name) and `instance`
(service.instance.id). The node's name is on `xdp_target_info` and is joined to it here.
"""

NODE = "host_name"
INTERFACE = "network_interface_name"

NODES = (
    "topk by (job, instance) (1, group by (job, instance, host_name) "
    '(xdp_target_info{job=~"$job",host_name=~"$node"}))'
)
"""The chosen nodes: 1 for each sidecar. One whose node was renamed has two names for a while: take one."""

SELECTED = 'job=~"$job"'
COUNTERS = f'{SELECTED},network_interface_name=~"$interface"'
READ = 'stage="read"'
RECENT = "[$__rate_interval]"


def on_nodes(vector: str) -> str:
    """Return *vector* for the chosen nodes only, with the node's name as one more label."""
    return f"{vector} * on (job, instance) group_left (host_name) {NODES}"


def summed(vector: str, *by: str) -> str:
    """Return the sum of *vector* over the chosen nodes, for each value of the labels *by*."""
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouping} ({on_nodes(vector)})"


def per_second(metric: str, *by: str, selector: str = COUNTERS) -> str:
    """Return how fast a counter of the packet-counter profile grows, for each value of *by*."""
    return summed(f"rate({metric}{{{selector}}}{RECENT})", *by)


def share(part: str, whole: str, *by: str) -> str:
    """Return what percentage of the growth of *whole* is *part*; nothing where nothing grows."""
    return f"100 * {per_second(part, *by)} / ({per_second(whole, *by)} > 0)"


def own(metric: str, *by: str, selector: str = "") -> str:
    """Return how fast a counter of the sidecars themselves grows, for each value of *by*."""
    return summed(f"rate({own_series(metric, selector)}{RECENT})", *by)


def own_recent(metric: str, *by: str) -> str:
    """Return by how much a counter of the sidecars grew in the time that the dashboard shows."""
    return summed(f"increase({own_series(metric)}[$__range])", *by)


def own_series(metric: str, selector: str = "") -> str:
    """Return the series of a metric of the sidecars themselves."""
    return f"xdp_otel_{metric}{{{SELECTED}{',' if selector else ''}{selector}}}"
