# SPDX-License-Identifier: Apache-2.0
"""Overview: the counts of the packet-counter profile by protocol, IP version, node and interface."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health
from dashboards.frame import FLEET, OVERVIEW, address, dashboard, directions, interfaces, jobs, nodes
from dashboards.panels import (
    BITS_PER_SECOND,
    BYTES,
    EXACT,
    PACKETS_PER_SECOND,
    PERCENT,
    Column,
    Panel,
    Query,
    heat,
    lines,
    number,
    ranking,
    rows,
)
from dashboards.promql import COUNTERS, DIRECTION, INTERFACE, NODE, on_nodes, per_second, share, summed

PACKETS, BYTES_COUNTED = "xdp_xdp_packets_total", "xdp_xdp_bytes_total"
PLACE = (NODE, INTERFACE, DIRECTION)
PLACE_LEGEND = "{{host_name}} {{network_interface_name}} {{network_io_direction}}"
BITS = f"8 * {per_second(BYTES_COUNTED)}"


def overview() -> Dashboard:
    """Return the entry dashboard."""
    return dashboard(
        OVERVIEW,
        "XDP overview",
        "What the XDP programs counted, and whether it is fresh. The counters are exact.",
        variables=[jobs(), nodes(), interfaces(), directions()],
        rows={
            "Are the data fresh? (needs --self-metrics and the recording rules)": _health(),
            "Now": _now(),
            "Kinds of packets": _kinds(),
            "Nodes and interfaces": _places(),
            "Compared with the last day (needs the recording rules)": _usual(),
        },
    )


def _health() -> list[Panel]:
    return [
        health.critical_alerts(),
        health.warnings(),
        health.silent_nodes(),
        health.last_delivery(),
        health.not_ready(),
        health.nodes(),
        health.delivery_ages(),
        health.firing_alerts(),
    ]


def _now() -> list[Panel]:
    return [
        number(
            "Packets",
            "Packets per second, in all chosen directions.",
            PACKETS_PER_SECOND,
            per_second(PACKETS),
        ),
        number("Bandwidth", "Bits per second, including Ethernet headers.", BITS_PER_SECOND, BITS),
        number("TCP", "TCP's share of all packets.", PERCENT, share("xdp_xdp_packets_tcp", PACKETS)),
        number("IPv6", "IPv6's share of all packets.", PERCENT, share("xdp_xdp_packets_ipv6", PACKETS)),
        number(
            "Packets counted",
            "Sum of the counters, each since it began: exact, to the packet.",
            EXACT,
            summed(f"{PACKETS}{{{COUNTERS}}}"),
        ),
        number(
            "Interfaces",
            "Interfaces and maps that are read.",
            EXACT,
            f"count (group without ({DIRECTION}) ({on_nodes(f'{PACKETS}{{{COUNTERS}}}')}))",
        ),
    ]


def _kinds() -> list[Panel]:
    protocols = [
        Query(per_second(f"xdp_xdp_packets_{kind}"), name)
        for kind, name in (("tcp", "TCP"), ("udp", "UDP"), ("icmp", "ICMP"), ("other", "other"))
    ]
    ipv4, ipv6 = (per_second(f"xdp_xdp_packets_{version}") for version in ("ipv4", "ipv6"))
    return [
        lines(
            "Packets by protocol",
            "Every packet is exactly one of the four: the total height is all packets.",
            PACKETS_PER_SECOND,
            *protocols,
            stacked=True,
        ),
        lines(
            "Packets by IP version",
            "Neither: ARP and everything else that is not IP.",
            PACKETS_PER_SECOND,
            Query(ipv4, "IPv4"),
            Query(ipv6, "IPv6"),
            Query(f"{per_second(PACKETS)} - {ipv4} - {ipv6}", "neither"),
            stacked=True,
        ),
        lines(
            "TCP and IPv6",
            "Share of all packets.",
            PERCENT,
            Query(share("xdp_xdp_packets_tcp", PACKETS), "TCP"),
            Query(share("xdp_xdp_packets_ipv6", PACKETS), "IPv6"),
        ).max(100),
        lines(
            "Mean packet size",
            "Bytes per packet, including the Ethernet header.",
            BYTES,
            Query(f"{per_second(BYTES_COUNTED)} / ({per_second(PACKETS)} > 0)", "mean"),
        ),
        heat(
            "Packet sizes (needs --packet-sizes)",
            "Packets per second by their size.",
            BYTES,
            per_second("xdp_xdp_packet_size_bucket", "le"),
        ),
        lines(
            "Quantiles of packet sizes (needs --packet-sizes)",
            "Within a bucket, which is a power of two, by linear interpolation.",
            BYTES,
            *(
                Query(
                    f"histogram_quantile ({quantile}, {per_second('xdp_xdp_packet_size_bucket', 'le')})", name
                )
                for quantile, name in ((0.5, "median"), (0.9, "90 %"), (0.99, "99 %"))
            ),
        ),
    ]


def _places() -> list[Panel]:
    packets, size = per_second(PACKETS, *PLACE), per_second(BYTES_COUNTED, *PLACE)
    return [
        lines(
            "Packets by node and interface",
            "The 20 with the most packets at each point in time.",
            PACKETS_PER_SECOND,
            Query(f"topk (20, {packets})", PLACE_LEGEND),
        ),
        lines(
            "Bandwidth by node and interface",
            "The 20 with the most bits at each point in time.",
            BITS_PER_SECOND,
            Query(f"topk (20, 8 * {size})", PLACE_LEGEND),
        ),
        ranking(
            "Top interfaces",
            "The 10 with the most packets.",
            PACKETS_PER_SECOND,
            Query(f"sort_desc (topk (10, {packets}))", PLACE_LEGEND),
        ),
        lines(
            "Rate as measured by the sidecar",
            "Mean over the sidecar's own last window. When a sidecar is gone its last value remains: the "
            "panels above show what is counted now.",
            PACKETS_PER_SECOND,
            Query(f"topk (20, {summed(f'xdp_xdp_packets_rate{{{COUNTERS}}}', *PLACE)})", PLACE_LEGEND),
        ),
        rows(
            "All interfaces",
            "As of the end of the time range.",
            {NODE: "Node", INTERFACE: "Interface", DIRECTION: "Direction"},
            [
                Column("Packets/s", packets, PACKETS_PER_SECOND),
                Column("Bits/s", f"8 * {size}", BITS_PER_SECOND),
                Column("TCP", share("xdp_xdp_packets_tcp", PACKETS, *PLACE), PERCENT),
                Column("IPv6", share("xdp_xdp_packets_ipv6", PACKETS, *PLACE), PERCENT),
                Column("Packets counted", summed(f"{PACKETS}{{{COUNTERS}}}", *PLACE), EXACT),
                Column("Bytes counted", summed(f"{BYTES_COUNTED}{{{COUNTERS}}}", *PLACE), EXACT),
            ],
            links={"Node": address(FLEET, node="Node")},
        ),
    ]


def _usual() -> list[Panel]:
    chosen = f'{{{COUNTERS},host_name=~"$node"}}'
    usual, deviation = (f"sum (xdp:packets:rate5m_{what}1d{chosen})" for what in ("avg", "stddev"))
    return [
        lines(
            "Packets compared with the mean of the last day",
            "Mean over 5 minutes. Outside three standard deviations XdpTrafficSpike or XdpTrafficDrop may "
            "fire; they look at each interface separately.",
            PACKETS_PER_SECOND,
            Query(f"sum (xdp:packets:rate5m{chosen})", "now"),
            Query(usual, "mean of the last day"),
            Query(f"{usual} + 3 * {deviation}", "upper bound"),
            Query(f"clamp_min ({usual} - 3 * {deviation}, 0)", "lower bound"),
            width=24,
        ),
    ]
