# SPDX-License-Identifier: Apache-2.0
"""
Which sources of a record are still of use.

A journal that forgot none would grow by one for each map that is read by its id, and each pin with a name of
its own. One that forgot a source whose map lives would count that map again, should the source come back.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from sidecar.kernel import syscall as bpf
from sidecar.model import MapIdentity
from sidecar.state.record import Record


@dataclass(frozen=True)
class Retention:
    """
    What tells the sources that are of use.

    Attributes:
        configured: The names of the sources that are read.
        boot_id: Which boot of the machine this is.
        living: The ids of all maps that live; None if that may not be known (it takes CAP_SYS_ADMIN).

    """

    configured: Collection[str]
    boot_id: str
    living: Collection[int] | None

    def kept(self, record: Record) -> Record:
        """
        Return the record without the sources that nobody asks for and whose maps have ended, all of them.

        What is in the batch under way stays until that is behind us: the next start has another look.
        """
        wanted = {*self.configured, *(record.pending.baselines if record.pending else ())}
        useless = {*record.acknowledged, *record.seen} - wanted
        gone = {one for one in useless if not any(map(self._may_live, _maps(record, one)))}
        return replace(
            record,
            acknowledged={name: one for name, one in record.acknowledged.items() if name not in gone},
            seen={name: snapshots for name, snapshots in record.seen.items() if name not in gone},
        )

    def _may_live(self, identity: MapIdentity) -> bool:
        if identity.boot_id != self.boot_id:
            return False
        return self.living is None or identity.map_id in self.living


def living_maps() -> frozenset[int] | None:
    """Return the ids of all maps that live, or None without CAP_SYS_ADMIN, which listing them takes."""
    try:
        return frozenset(bpf.map_ids())
    except OSError:
        return None


def _maps(record: Record, source: str) -> list[MapIdentity]:
    baseline = record.acknowledged.get(source)
    seen = [snapshot.identity for snapshot in record.seen.get(source, ())]
    return seen + (list(baseline.maps) if baseline else [])
