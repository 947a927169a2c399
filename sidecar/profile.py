# SPDX-License-Identifier: Apache-2.0
"""The packet-counter profile: the layout of `struct pkt_stats` and the metrics made of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sidecar.model import Field, Layout


@dataclass(frozen=True)
class Instrument:
    """A metric: its OpenTelemetry name, unit (UCUM) and description, and the field that it is made of."""

    name: str
    unit: str
    description: str
    field: str


@dataclass(frozen=True)
class Profile:
    """
    Which metrics come of which layout.

    Attributes:
        name: The profile's name.
        layout: Where the fields lie in the map's value.
        sums: Monotonic sums.
        rates: Gauges: the mean growth of a field over the batch's window, per second.

    """

    name: str
    layout: Layout
    sums: tuple[Instrument, ...]
    rates: tuple[Instrument, ...]

    def positions(self, instruments: Iterable[Instrument]) -> Iterator[tuple[int, Instrument]]:
        """Yield each instrument after the place of its field in a series' counts and totals."""
        place = {field.name: at for at, field in enumerate(self.layout.fields)}
        for instrument in instruments:
            yield place[instrument.field], instrument


def _layout(*names: str) -> Layout:
    return Layout(8 * len(names), tuple(Field(name, 8 * at) for at, name in enumerate(names)))


PACKET_COUNTER = Profile(
    name="packet-counter",
    # bpf/xdp_packet_counter.h, struct pkt_stats
    layout=_layout(
        "total_packets",
        "total_bytes",
        "icmp_packets",
        "tcp_packets",
        "udp_packets",
        "other_packets",
        "ipv4_packets",
        "ipv6_packets",
    ),
    sums=(
        Instrument("xdp.packets.total", "{packet}", "Packets seen by the XDP program.", "total_packets"),
        Instrument("xdp.bytes.total", "By", "Bytes of all packets, Ethernet header included.", "total_bytes"),
        Instrument("xdp.packets.icmp", "{packet}", "ICMP and ICMPv6 packets.", "icmp_packets"),
        Instrument("xdp.packets.tcp", "{packet}", "TCP packets.", "tcp_packets"),
        Instrument("xdp.packets.udp", "{packet}", "UDP packets.", "udp_packets"),
        Instrument("xdp.packets.other", "{packet}", "Packets of any other kind.", "other_packets"),
        Instrument("xdp.packets.ipv4", "{packet}", "IPv4 packets.", "ipv4_packets"),
        Instrument("xdp.packets.ipv6", "{packet}", "IPv6 packets.", "ipv6_packets"),
    ),
    rates=(
        Instrument(
            "xdp.packets.rate", "{packet}/s", "Mean packet rate over the last window.", "total_packets"
        ),
    ),
)
