# SPDX-License-Identifier: Apache-2.0
"""The one line that a cycle leaves in the log (pure)."""

from sidecar.model import Layout, Snapshot


def summary(layout: Layout, snapshot: Snapshot, previous: tuple[int, int] | None) -> str:
    """
    Return what the kernel has counted since the program was loaded, and the rate since the last line.

    *previous* is the time (Unix ns) and the packet count of the last line; without one, or after a new map
    took its place, the rate is the mean since the map began to count.
    """
    now = field_sums(layout, snapshot)
    since_ns, packets = previous or (snapshot.born_ns, 0)
    if packets > now["total_packets"]:
        since_ns, packets = snapshot.born_ns, 0
    seconds = (snapshot.taken_ns - since_ns) / 1e9
    rate = (now["total_packets"] - packets) / seconds if seconds > 0 else 0.0
    return (
        f"Total: {now['total_packets']:,} pkts, {now['total_bytes']:,} bytes | "
        f"IPv4: {now['ipv4_packets']:,}, IPv6: {now['ipv6_packets']:,} | "
        f"TCP: {now['tcp_packets']:,}, UDP: {now['udp_packets']:,}, "
        f"ICMP: {now['icmp_packets']:,}, Other: {now['other_packets']:,} | Rate: {rate:,.2f} pps"
    )


def field_sums(layout: Layout, snapshot: Snapshot) -> dict[str, int]:
    """Return each field added up over all keys."""
    sums = map(sum, zip(*snapshot.totals.values(), strict=True))
    return dict(zip((field.name for field in layout.fields), sums, strict=True))
