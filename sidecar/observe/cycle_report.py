# SPDX-License-Identifier: Apache-2.0
"""What each cycle leaves in the log and in the sidecar's own metrics."""

import logging

from sidecar.counts.window import NextWindow
from sidecar.model import Snapshot
from sidecar.observe.falls import Falls
from sidecar.observe.summary import Summary, shared_series
from sidecar.observe.telemetry import Telemetry
from sidecar.schema import Schema

log = logging.getLogger(__name__)


class CycleReport:
    """Report what was read and what a batch contains."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._summary = Summary()
        self._falls = Falls()
        self._sharing: set[int] = set()

    def reading(self, source: str, schema: Schema, snapshot: Snapshot, *, prefix: str) -> None:
        """Log one line about a reading of a source's newest map."""
        log.info("%s%s", prefix, self._summary.line(source, schema, snapshot))

    def batch(self, source: str, schema: Schema, window: NextWindow) -> None:
        """Report a source's part of a new batch."""
        self._telemetry.record(source, schema, window)
        self._falls.log(source, schema, window)
        self._log_shared_series(source, schema, window)

    def _log_shared_series(self, source: str, schema: Schema, window: NextWindow) -> None:
        """Warn, once for each map, that keys share series although the configuration does not ask for it."""
        newest = window.snapshots[-1]
        keys, map_id = len(newest.reading.cells), newest.identity.map_id
        shared = "" if window.overflowed else shared_series(schema, keys, len(window.series))
        if shared and map_id not in self._sharing:
            self._sharing.add(map_id)
            log.warning("%s: %s", source, shared)
