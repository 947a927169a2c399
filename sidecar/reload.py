# SPDX-License-Identifier: Apache-2.0
"""
SIGHUP: read the configuration files again and change the sources (docs/configuration.md).

A reload is a restart within the process: the sources are opened as at the start, and the record in memory is
what the journal would hand to the next process.
"""

import logging
from collections.abc import Callable, Sequence

from sidecar.describe.spec import SourceSpec
from sidecar.errors import RightsError, SidecarError, machine_error
from sidecar.observe.service_manager import ServiceManager
from sidecar.sources.source import Source
from sidecar.sources.source_set import SourceSet
from sidecar.state.record import Record

log = logging.getLogger(__name__)


class Reload:
    """What a user has asked for by SIGHUP, and whether it can be had."""

    def __init__(
        self, opened: SourceSet, reread: Callable[[], Sequence[SourceSpec]], manager: ServiceManager
    ) -> None:
        """Take the open sources; *reread* returns those of the files, or raises SidecarError."""
        self._opened = opened
        self._reread = reread
        self._manager = manager
        self._requested = False
        self._specs: Sequence[SourceSpec] | None = None
        self._waits = False

    @property
    def sources(self) -> Sequence[Source]:
        """The open sources."""
        return self._opened.sources

    def request(self) -> None:
        """Want a reload; a signal handler may call it."""
        self._requested = True

    def is_wanted(self) -> bool:
        """Return whether there is another configuration to change to, read when it was requested."""
        if self._requested:
            self._requested, self._waits = False, False
            self._manager.reloading()
            self._specs = self._read()
            if self._specs is None:
                self._manager.ready()
        return self._specs is not None

    def wait(self, sequence: int) -> None:
        """Learn that batch *sequence* has to be acknowledged first; refuse now what cannot be opened now."""
        if self._waits or self._specs is None:
            return
        if self._attempt(self._opened.check, self._specs):
            self._waits = True
            log.info("the new configuration waits until batch %d is acknowledged", sequence)
        else:
            self._specs = None
        self._manager.ready()

    def apply(self) -> bool:
        """Open the new sources in place of the present ones; return False if one is refused instead."""
        specs, self._specs = self._specs or (), None
        before, names = self._opened.specs, {source.name for source in self.sources}
        done = self._attempt(self._opened.open, specs)
        if done:
            changed = sum(spec not in before for spec in specs)
            removed = len(names - {source.name for source in self.sources})
            counts = changed, removed, len(specs)
            log.info("reloaded: sources added or changed: %d, removed: %d, now: %d", *counts)
        if not self._waits:
            self._manager.ready()
        return done

    def retained(self, record: Record) -> Record:
        """Return the part of the record that the next process would keep with these sources."""
        return self._opened.retained(record)

    def _read(self) -> Sequence[SourceSpec] | None:
        specs: list[SourceSpec] = []
        if not self._attempt(lambda _: specs.extend(self._reread()), ()):
            return None
        if specs == list(self._opened.specs):
            log.info("reload: the configuration has not changed")
            return None
        return specs

    @staticmethod
    def _attempt(step: Callable[[Sequence[SourceSpec]], None], specs: Sequence[SourceSpec]) -> bool:
        """Take a step with the new configuration; log the error if it is refused."""
        try:
            step(specs)
        except (SidecarError, OSError, MemoryError) as error:
            refusal = error if isinstance(error, SidecarError) else machine_error(error)
            if refusal is None:
                raise
            if isinstance(refusal, RightsError):
                remedy = "restart: only what the first configuration needs was kept of the rights"
                refusal = RightsError(refusal.what.removeprefix("cannot "), refusal.cause, remedy)
            log.error("reload refused, the configuration stays as it is: %s", refusal)
            return False
        return True
