# SPDX-License-Identifier: Apache-2.0
"""The same counts from three independent sources: the tap, the kernel, Prometheus."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from demo import prometheus, stack
from demo.interruption import pause
from demo.namespaces import CLIENT_INTERFACE, NODE_INTERFACE, Lab
from demo.patience import patient
from demo.ports import Ports
from demo.prometheus import METRICS
from demo.tap import FIELDS, Counts, Tap
from sidecar.kernel.interface import Interface

AGREE_WITHIN_S = 20
"""How long the counts may differ after the traffic, seconds: a few cycles of the sidecar and scrapes."""


@dataclass(frozen=True)
class Row:
    """A metric from all three sources; *prometheus* is None if it has no such series."""

    metric: str
    sent: int
    kernel: int
    prometheus: int | None

    @property
    def agrees(self) -> bool:
        """Whether the three counts are equal."""
        return self.sent == self.kernel == self.prometheus


def compare(sent: Counts, kernel: Counts, prometheus: Mapping[str, int | None]) -> list[Row]:
    """Return a row for each counter, in the order of `struct pkt_stats`."""
    return [Row(METRICS[field], sent[field], kernel[field], prometheus[field]) for field in FIELDS]


def places_of(made: Lab) -> list[Interface]:
    """Return what is counted: what the node receives and, where the kernel can, what the client transmits."""
    received = Interface(NODE_INTERFACE, made.node)
    transmitted = Interface(CLIENT_INTERFACE, made.client, "transmit")
    return [received, transmitted] if stack.sees_transmitted() else [received]


def settle(
    truth: Tap, ports: Ports, places: Sequence[Interface], *, within_s: float = AGREE_WITHIN_S
) -> list[list[Row]]:
    """
    Return the comparison at each place once all agree, or the last one after *within_s* seconds.

    What the client's interface transmits, the node's receives: the truth of all places is what the tap saw.
    """
    deadline = time.monotonic() + patient(within_s)
    while True:
        tables = [_rows(truth, ports, place) for place in places]
        if all(row.agrees for rows in tables for row in rows) or time.monotonic() > deadline:
            return tables
        pause(0.25)


def _rows(truth: Tap, ports: Ports, place: Interface) -> list[Row]:
    kernel = stack.kernel_counts(place.name, place.netns, place.direction)
    return compare(truth.counts(), kernel, prometheus.counters(ports, place.name))
