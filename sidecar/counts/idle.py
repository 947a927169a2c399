# SPDX-License-Identifier: Apache-2.0
"""
Which series are left out of a batch, so that its cost follows what changed (pure).

A series that counted nothing can be left out: its next window starts where its last exported one ended, and
so does its base point. But it must be exported now and then, or the backend treats it as gone. Beyond the
limit on series, the longest idle ones without a key are evicted (`aggregate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar.model import Series
from sidecar.schema import Schema

OMIT_IDLE_FROM = 4096
"""A source with no more series than this exports all of them: it costs next to nothing."""

LONGEST_NS = 240 * 10**9
"""
A series is exported at least this often, ns.

If the Collector forwards each sample to a store, a query finds one only if it is at most five minutes old
(Prometheus: `--query.lookback-delta`).
"""

# 2^32 divided by the golden ratio: consecutive multiples of it are spread evenly modulo 2^32 (Knuth, The Art
# of Computer Programming, volume 3, section 6.4).
_FIBONACCI = 2_654_435_761


def can_omit_idle(schema: Schema, count: int) -> bool:
    """Return whether a source with *count* series may omit some; a gauge holds only while it is exported."""
    return count > OMIT_IDLE_FROM and not schema.has_gauges


def moment_ns(number: Any) -> Any:
    """
    Return when in each `LONGEST_NS` a series is due, by its position among those of its source; or an array.

    Each has a moment of its own, so that they do not all come at once.
    """
    return (number * _FIBONACCI & 0xFFFFFFFF) * (LONGEST_NS >> 32)


def must_export(moment_ns: Any, counted: Any, is_new: Any, start_ns: Any, end_ns: Any) -> Any:
    """
    Return whether a series must be exported; with arrays, an array.

    Args:
        moment_ns: When it is due.
        counted: Whether it counted anything in (start_ns, end_ns].
        is_new: Whether it was never exported.
        start_ns: End of its last exported window, Unix ns.
        end_ns: End of the current one, Unix ns.

    """
    return counted | is_new | needs_refresh(moment_ns, start_ns, end_ns)


def needs_refresh(moment_ns: Any, start_ns: Any, end_ns: Any) -> Any:
    """Return whether a series is due in (start_ns, end_ns] although it counted nothing; or an array."""
    due_ns = end_ns - end_ns % LONGEST_NS + moment_ns
    return ((start_ns < due_ns) & (due_ns <= end_ns)) | (start_ns < due_ns - LONGEST_NS)


def select(all_series: Sequence[Series]) -> list[Series]:
    """Return the series that must be exported."""
    return [
        series
        for number, series in enumerate(all_series)
        if must_export(moment_ns(number), any(series.counts), series.is_new, series.start_ns, series.end_ns)
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
