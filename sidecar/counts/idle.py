# SPDX-License-Identifier: Apache-2.0
"""
Which series may be left out of a batch, so that the cost follows what changed (pure).

A series that counted nothing has nothing to say: its next window starts where its last one ended, and its
base point ends there. But it must be said now and then, or whoever keeps it takes it for gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar.model import Series
from sidecar.schema import SUMS, Schema

OMIT_IDLE_FROM = 4096
"""Of a source with no more series than this all are said: it costs next to nothing."""

LONGEST_NS = 240 * 10**9
"""
A series is said at least this often, ns.

Where a Collector writes each sample on to a store, a query finds one of the last five minutes (Prometheus:
`--query.lookback-delta`).
"""


def can_omit_idle(schema: Schema, count: int) -> bool:
    """Return whether series may be left out: of a source with many; gauges hold only while they are said."""
    return count > OMIT_IDLE_FROM and all(one.kind in SUMS for one in schema.instruments)


def needs_refresh(number: Any, start_ns: Any, end_ns: Any) -> Any:
    """
    Return whether a series is to be said whatever it counted in (start_ns, end_ns]; arrays do as well.

    Each series has its own moment by its *number*, so that they do not all come at once.
    """
    moment = number * 2_654_435_761 % 2**32 * (LONGEST_NS >> 32)
    return ((end_ns + moment) // LONGEST_NS > (start_ns + moment) // LONGEST_NS) | (
        end_ns - start_ns >= LONGEST_NS
    )


def select(series: Sequence[Series]) -> list[Series]:
    """Return those that counted something, that were never sent, or that are due."""
    return [
        one
        for number, one in enumerate(series)
        if any(one.counts) or one.is_new or needs_refresh(number, one.start_ns, one.end_ns)
    ]


@dataclass(frozen=True)
class CollectorView:
    """
    Whether the Collector has every series: if not, none may be omitted.

    It has them all once it acknowledged a batch with all of them over the same connections as the batch
    before. After any other response, or over another connection, it may have been restarted and have none.

    Attributes:
        has_all_series: The Collector has every series.
        pending_has_all: The pending batch has every series.
        connections: Inodes of the sockets that were open at the last response.

    """

    has_all_series: bool = False
    pending_has_all: bool = False
    connections: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        state = "has all series" if self.has_all_series else "may lack series"
        batch = "all series" if self.pending_has_all else "may omit idle series"
        return f"<CollectorView [{state}, last batch: {batch}, sockets: {sorted(self.connections)}]>"

    def after_submit(self) -> "CollectorView":
        """Return the view once a batch was made under this one."""
        return replace(self, pending_has_all=not self.has_all_series)

    def after_response(self, connections: frozenset[int], *, clean: bool) -> "CollectorView":
        """Return the view after a response; *clean*: it acknowledged every point."""
        same = clean and connections == self.connections
        return replace(
            self,
            has_all_series=same and (self.has_all_series or self.pending_has_all),
            connections=connections,
        )
