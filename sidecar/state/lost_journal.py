# SPDX-License-Identifier: Apache-2.0
"""
Where a source starts that the journal does not know, and the marks in bpffs that outlive a lost journal.

A marked map was reported before, so what it holds must not be counted a second time (docs/adr/0004).
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

from sidecar.counts import delta
from sidecar.errors import explain
from sidecar.kernel import reported
from sidecar.model import Baseline, Snapshot, Temporality
from sidecar.schema import Schema

log = logging.getLogger(__name__)


def first_baseline(
    snapshot: Snapshot, schema: Schema, temporality: Temporality, reported_since_ns: int | None
) -> Baseline:
    """
    Return the baseline of a source without one in the journal.

    Args:
        snapshot: The oldest map of the source, as it was just read.
        schema: Which series it yields.
        temporality: How counts are sent.
        reported_since_ns: Start time of the series in which the map was reported before, Unix ns; None if it
            never was.

    """
    if reported_since_ns is not None:
        if temporality is Temporality.DELTA:
            return delta.baseline_from_now(snapshot)
        snapshot = replace(snapshot, counting_since_ns=reported_since_ns)
    if temporality is Temporality.DELTA_WITH_BASE:
        return delta.baseline_as_reported(snapshot, schema)
    return delta.baseline_from_zero(snapshot)


class ReportedMaps:
    """Mark each map in bpffs before any of its counts are sent."""

    def __init__(self) -> None:
        self._marked: set[int] = set()

    def start_time_ns(self, map_id: int) -> int | None:
        """Return when the series began in which a map was reported, Unix ns, or None if it never was."""
        return reported.start_time_ns(map_id)

    def mark(self, baselines: Iterable[Baseline]) -> None:
        """Mark the newest map of each baseline; only log it if that fails."""
        for baseline in baselines:
            if baseline.identity.map_id not in self._marked:
                self._mark(baseline.identity.map_id, baseline.start_time_ns)

    def _mark(self, map_id: int, start_time_ns: int) -> None:
        try:
            reported.mark(map_id, start_time_ns)
        except OSError as error:
            log.warning(
                "cannot mark map id %d as reported in bpffs: %s: if the state directory is lost, its counts "
                "may be sent twice",
                map_id,
                explain(error),
            )
        self._marked.add(map_id)
