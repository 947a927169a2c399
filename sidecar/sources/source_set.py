# SPDX-License-Identifier: Apache-2.0
"""The sources that are open, and their change for those of another configuration."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sidecar.describe.spec import SourceSpec
from sidecar.errors import each
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source


class SourceSet:
    """
    All sources of one configuration, open and told apart, with the locks of their interfaces.

    Attributes:
        specs: Their specifications.
        sources: The sources, in the same order.

    """

    def __init__(self) -> None:
        """Open nothing yet."""
        self.specs: Sequence[SourceSpec] = ()
        self.sources: Sequence[Source] = ()
        # By directory of pins: an interface has one lock for both directions.
        self._locks: dict[Path, InterfaceLock] = {}

    def open(self, specs: Sequence[SourceSpec]) -> None:
        """
        Open these sources in place of the present ones.

        A source that was open already keeps its maps, also if only we keep them alive.

        Raises:
            SidecarError: One of them cannot be opened. The present ones stay as they are.

        """
        before, self.sources = self.sources, self._opened(specs)
        self.specs = specs
        self._release_locks()
        for source in before:
            source.close()

    def check(self, specs: Sequence[SourceSpec]) -> None:
        """Raise SidecarError if `open` would; change nothing but what an interface needs to be attached."""
        for source in self._opened(specs):
            source.close()
        self._release_locks()

    def close(self) -> None:
        """Close all sources and release the locks."""
        for source in self.sources:
            source.close()
        self.specs = self.sources = ()
        self._release_locks()

    def _opened(self, specs: Sequence[SourceSpec]) -> Sequence[Source]:
        present = {source.name: source for source in self.sources}
        sources = [locate.source(spec, self._lock(spec)) for spec in specs]
        with ExitStack() as opened:
            opened.callback(self._release_locks)

            def open_source(source: Source) -> None:
                opened.callback(source.close)
                source.open(present.get(source.name))

            each(open_source, sources)
            tell_apart(sources)
            opened.pop_all()
        return sources

    def _lock(self, spec: SourceSpec) -> InterfaceLock | None:
        interface = locate.interface_of(spec.map_ref)
        # A second lock of ours would be refused as another sidecar's.
        return (
            self._locks.setdefault(interface.pin_directory, InterfaceLock(interface)) if interface else None
        )

    def _release_locks(self) -> None:
        """Release the locks of interfaces that no open source has."""
        interfaces = filter(None, (locate.interface_of(spec.map_ref) for spec in self.specs))
        for directory in self._locks.keys() - {interface.pin_directory for interface in interfaces}:
            self._locks.pop(directory).close()
