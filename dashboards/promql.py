# SPDX-License-Identifier: Apache-2.0
"""
The PromQL of the panels.

Of its resource, a series from the Collector only has `job` (service.name) and `instance`
(service.instance.id). The node's name is on `xdp_target_info` and is joined here.
"""

NODE = "host_name"
INTERFACE = "network_interface_name"
DIRECTION = "network_io_direction"
"""Only where a sidecar counts more than what is received; elsewhere a series has no such label."""

MAP_METRICS = '{__name__=~"xdp_.+",__name__!~"xdp_target_info|xdp_xdp_otel_.+|xdp_xdp_.+_rate"}'
"""What maps have counted."""

NODES = (
    "topk by (job, instance) (1, group by (job, instance, host_name) "
    '(xdp_target_info{job=~"$job",host_name=~"$node"}))'
)
"""The chosen nodes: 1 per sidecar. After a node is renamed, a sidecar has two names for a while: pick one."""

SELECTED = 'job=~"$job"'
DIRECTED = f'{SELECTED},{DIRECTION}=~"$direction"'
COUNTERS = f'{DIRECTED},{INTERFACE}=~"$interface"'
READ = 'stage="read"'
RECENT = "[$__rate_interval]"


def on_nodes(vector: str) -> str:
    """Return *vector* for the chosen nodes only, with the node's name as an extra label."""
    return f"{vector} * on (job, instance) group_left (host_name) {NODES}"


def summed(vector: str, *by: str) -> str:
    """Return the sum of *vector* over the chosen nodes, for each value of the labels *by*."""
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouping} ({on_nodes(vector)})"


def per_second(metric: str, *by: str, selector: str = COUNTERS) -> str:
    """Return the rate of a counter of the packet-counter profile, for each value of *by*."""
    return summed(f"rate({metric}{{{selector}}}{RECENT})", *by)


def share(part: str, whole: str, *by: str) -> str:
    """Return the growth of *part* as a percentage of that of *whole*; no result where nothing grows."""
    return f"100 * {per_second(part, *by)} / ({per_second(whole, *by)} > 0)"


def own(metric: str, *by: str, selector: str = "") -> str:
    """Return the rate of a self-metric of the sidecars, for each value of *by*."""
    return summed(f"rate({own_series(metric, selector)}{RECENT})", *by)


def own_recent(metric: str, *by: str) -> str:
    """Return the increase of a self-metric of the sidecars in the dashboard's time range."""
    return summed(f"increase({own_series(metric)}[$__range])", *by)


def own_series(metric: str, selector: str = "") -> str:
    """Return the selector of a self-metric of the sidecars."""
    return f"xdp_xdp_otel_{metric.replace('.', '_')}{{{SELECTED}{',' if selector else ''}{selector}}}"
