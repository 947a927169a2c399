# SPDX-License-Identifier: Apache-2.0
"""
Which sources of a record are kept.

A journal that forgot none would grow with every map that is read by its id, and with every pin whose name is
used once. A journal that forgot a source whose map is alive would count that map again if the source
returned.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from sidecar.kernel import syscall as bpf
from sidecar.model import MapIdentity
from sidecar.state.record import Record


@dataclass(frozen=True)
class Retention:
    """
    What decides whether a source is kept.

    Attributes:
        configured: The names of the configured sources.
        boot_id: The kernel's id of the present boot.
        living: The ids of all maps that exist; None if they cannot be listed, which takes CAP_SYS_ADMIN.
        ended: The ids of maps that are known to exist no longer.

    """

    configured: Collection[str]
    boot_id: str
    living: Collection[int] | None
    ended: Collection[int] = ()

    def retain(self, record: Record) -> Record:
        """
        Return the record without the sources that are not configured and whose maps no longer exist.

        Sources in the pending batch are kept until it is completed: the next start decides again.
        """
        kept = {*self.configured, *(record.pending.baselines if record.pending else ())}
        kept |= {
            source
            for source in (*record.acknowledged, *record.snapshots)
            if any(map(self._may_live, _maps(record, source)))
        }
        return replace(
            record,
            acknowledged={
                source: baseline for source, baseline in record.acknowledged.items() if source in kept
            },
            snapshots={source: snapshots for source, snapshots in record.snapshots.items() if source in kept},
        )

    def _may_live(self, identity: MapIdentity) -> bool:
        if identity.boot_id != self.boot_id:
            return False
        if identity.map_id in self.ended:
            return False
        return self.living is None or identity.map_id in self.living


def living_maps() -> frozenset[int] | None:
    """Return the ids of all maps that exist, or None without CAP_SYS_ADMIN, which listing them takes."""
    try:
        return frozenset(bpf.map_ids())
    except OSError:
        return None


def _maps(record: Record, source: str) -> Iterator[MapIdentity]:
    yield from (snapshot.identity for snapshot in record.snapshots.get(source, ()))
    if source in record.acknowledged:
        yield from record.acknowledged[source].maps
