# SPDX-License-Identifier: Apache-2.0
"""The same counts from three independent sources: the tap, the kernel, Prometheus."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from demo import prometheus, stack
from demo.interruption import pause
from demo.namespaces import NODE_INTERFACE, Lab
from demo.ports import Ports
from demo.prometheus import METRICS
from demo.tap import FIELDS, Counts, Tap

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


def settle(truth: Tap, ports: Ports, made: Lab, *, within_s: float = AGREE_WITHIN_S) -> list[Row]:
    """Return the comparison once all agree, or the last one after *within_s* seconds."""
    deadline = time.monotonic() + within_s
    while True:
        kernel = stack.kernel_counts(NODE_INTERFACE, made.node)
        rows = compare(truth.counts(), kernel, prometheus.counters(ports, NODE_INTERFACE))
        if all(row.agrees for row in rows) or time.monotonic() > deadline:
            return rows
        pause(0.25)
