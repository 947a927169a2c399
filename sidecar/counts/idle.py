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
from sidecar.schema import Schema

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
    return count > OMIT_IDLE_FROM and not schema.has_gauges


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
    Whether the Collector at the other end has every series: if not, none may be left out.

    It has them all once it took a batch with all of them, over the same connection as the batch before. After
    an answer that was not a clean OK, or over another connection, it may be one that knows nothing.

    Attributes:
        has_all_series: It has every series.
        under_way: The batch under way has every series.
        connections: What the last answer came over.

    """

    has_all_series: bool = False
    under_way: bool = False
    connections: frozenset[int] = frozenset()

    def frozen(self) -> "CollectorView":
        """Return what holds after a batch was made under this."""
        return replace(self, under_way=not self.has_all_series)

    def after_response(self, connections: frozenset[int], *, clean: bool) -> "CollectorView":
        """Return what holds after an answer."""
        same = clean and connections == self.connections
        return replace(
            self, has_all_series=same and (self.has_all_series or self.under_way), connections=connections
        )
