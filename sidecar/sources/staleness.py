# SPDX-License-Identifier: Apache-2.0
"""Keep whether a source reads what stands at its place, and repeat a warning while it does not."""

import logging
import time

log = logging.getLogger(__name__)

REPEAT_S = 60.0
"""A source that stays stale is reported this often, however short the interval."""


class Staleness:
    """
    The staleness of one source.

    Attributes:
        reason: Why the source is stale, on one line; empty if it is not.

    """

    def __init__(self) -> None:
        self.reason = ""
        self._warned_at = 0.0

    def update(self, source: str, reason: str) -> None:
        """Take the reason found in this cycle; log a change at once, and what stays once a minute."""
        now = time.monotonic()
        if reason and (reason != self.reason or now - self._warned_at >= REPEAT_S):
            log.warning("%s is stale: %s", source, reason)
            self._warned_at = now
        elif self.reason and not reason:
            log.info("%s is no longer stale", source)
        self.reason = reason
