# SPDX-License-Identifier: Apache-2.0
"""How sums are written in a line of the log (pure)."""

from collections.abc import Mapping

from sidecar.counts.reading import sum_fields
from sidecar.model import Snapshot
from sidecar.schema import Schema
from sidecar.u64 import signed

_PACKET_COUNTER = {
    *("total_packets", "total_bytes", "icmp_packets", "tcp_packets", "udp_packets", "other_packets"),
    *("ipv4_packets", "ipv6_packets"),
}
_MAX_FIELDS_SHOWN = 8


class Summary:
    """Reports what each source has counted, and how fast its first field grows."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int | None, int]] = {}

    def line(self, source: str, schema: Schema, snapshot: Snapshot) -> str:
        """
        Return what the kernel has counted since the map was created, and the rate since the last line.

        Without a last line, or after a new map replaced the old one, it is the mean over the map's life.
        """
        sums = field_sums(schema, snapshot)
        first = next(iter(sums.values()), 0)
        birth = (snapshot.counting_since_ns, None, 0)
        wall_ns, boottime_ns, before = self._last.get(source, birth)
        if before > first:
            wall_ns, boottime_ns, before = birth
        self._last[source] = snapshot.taken_ns, snapshot.boottime_ns, first
        seconds = snapshot.after_ns(wall_ns, boottime_ns) / 1e9
        rate = (first - before) / seconds if seconds else 0.0
        keys = "" if sums.keys() == _PACKET_COUNTER else f"{plural(len(snapshot.reading.cells), 'key')} | "
        return f"{keys}{totals(sums)} | {shown_rate(sums, rate)}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 key`, `4,096 keys`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def totals(sums: Mapping[str, int]) -> str:
    """Return what a source holds: `Total: 6,180 pkts, …`, or its fields by name."""
    return f"Total: {amounts(sums)}" if sums.keys() == _PACKET_COUNTER else amounts(sums)


def amounts(sums: Mapping[str, int]) -> str:
    """Return sums by field as text: `6,180 pkts, …` of a packet counter, `drops: 7, …` of any other map."""
    return _packets(sums) if sums.keys() == _PACKET_COUNTER else _fields(sums)


def shown_rate(sums: Mapping[str, int], rate: float) -> str:
    """Return the rate of the first sum as text, per second."""
    unit = "pps" if sums.keys() == _PACKET_COUNTER else f"{next(iter(sums), '')}/s"
    return f"Rate: {rate:,.2f} {unit}"


def shared_series(schema: Schema, keys: int, series: int) -> str:
    """Return a warning if keys share series although each was to have its own; otherwise an empty string."""
    if not schema.distinct_keys or keys <= series:
        return ""
    return f"{plural(keys, 'key')} yield {series:,} series: keys that differ only in padding are aggregated"


def field_sums(schema: Schema, snapshot: Snapshot) -> dict[str, int]:
    """Return the sum over all keys and CPUs of each field that is a sum."""
    return {
        field.name: signed(total) if field.signed else total
        for field, total in zip(schema.layout.fields, sum_fields(snapshot.reading), strict=True)
        if field.aggregate == "sum"
    }


def _packets(now: Mapping[str, int]) -> str:
    return (
        f"{now['total_packets']:,} pkts, {now['total_bytes']:,} bytes | "
        f"IPv4: {now['ipv4_packets']:,}, IPv6: {now['ipv6_packets']:,} | "
        f"TCP: {now['tcp_packets']:,}, UDP: {now['udp_packets']:,}, "
        f"ICMP: {now['icmp_packets']:,}, Other: {now['other_packets']:,}"
    )


def _fields(sums: Mapping[str, int]) -> str:
    shown = [f"{name}: {total:,}" for name, total in list(sums.items())[:_MAX_FIELDS_SHOWN]]
    return ", ".join([*shown, "…"] if len(sums) > _MAX_FIELDS_SHOWN else shown)
