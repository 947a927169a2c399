# SPDX-License-Identifier: Apache-2.0
"""
Where a source starts that the journal does not know, and the marks in bpffs that outlive a lost journal.

A marked map was reported before, so what it holds must not be counted a second time (docs/adr/0004).
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sidecar.counts import delta
from sidecar.errors import explain, printable
from sidecar.kernel import reported
from sidecar.model import Baseline, MapIdentity, Snapshot, Temporality
from sidecar.schema import Schema

log = logging.getLogger(__name__)

CONSEQUENCES: Mapping[Temporality, str] = {
    Temporality.DELTA: "only what it counts from now on is sent, so nothing is counted twice; "
    "what it counted since the last report may be missing",
    Temporality.DELTA_WITH_BASE: "its counts so far are sent only as a base point, which a Collector "
    "that has these series ignores",
    Temporality.CUMULATIVE: "its totals are sent as they are",
}
"""What follows for a map that was reported before, without its journal."""


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


def known_as(acknowledged: Mapping[str, Baseline], identity: MapIdentity) -> str | None:
    """Return the source as which the journal knows a map, if there is one."""
    return next((source for source, baseline in acknowledged.items() if identity in baseline.maps), None)


class ReportedMaps:
    """Mark each map in bpffs before any of its counts are sent."""

    def __init__(self, state_dir: Path | None = None) -> None:
        """*state_dir* is where the journal is; a mark names it."""
        self._state_dir = state_dir.absolute() if state_dir else None
        self._marked: set[int] = set()

    def start_time_ns(self, map_id: int) -> int | None:
        """Return when the series began in which a map was reported, Unix ns, or None if it never was."""
        return reported.start_time_ns(map_id)

    def reported_by(self, map_id: int) -> str:
        """Return, for the log, by which journal a map was reported that this journal does not know."""
        state_dirs = reported.state_dirs(map_id)
        if not state_dirs or self._state_dir is None:
            return ", by a journal that is not in this state directory (lost, or in another one)"
        if self._state_dir in state_dirs:
            return ", but the journal is lost"
        return f", from state directory {printable(', '.join(map(str, state_dirs)))}"

    def mark(self, baselines: Iterable[Baseline]) -> None:
        """Mark the newest map of each baseline; only log it if that fails."""
        for baseline in baselines:
            if baseline.identity.map_id not in self._marked:
                self._mark(baseline.identity.map_id, baseline.start_time_ns)

    def _mark(self, map_id: int, start_time_ns: int) -> None:
        try:
            reported.mark(map_id, start_time_ns, self._state_dir)
        except OSError as error:
            log.warning(
                "cannot mark map id %d as reported in bpffs: %s: if the state directory is lost, its counts "
                "may be sent twice",
                map_id,
                explain(error),
            )
        self._marked.add(map_id)


class NothingReported(ReportedMaps):
    """Without an endpoint nothing is sent: no map is marked, and none has been reported before."""

    def start_time_ns(self, map_id: int) -> None:
        """Return None."""

    def mark(self, baselines: Iterable[Baseline]) -> None:
        """Do nothing."""
