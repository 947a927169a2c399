# SPDX-License-Identifier: Apache-2.0
"""What survives the process, and what of it holds after each response (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sidecar.counts import fields
from sidecar.model import Baseline, Snapshot


@dataclass(frozen=True)
class Batch:
    """
    A frozen batch: its bytes never change.

    Attributes:
        requests: Serialized ExportMetricsServiceRequests.
        baselines: The baseline that follows once they are acknowledged, for each source in the batch.

    """

    requests: tuple[bytes, ...]
    baselines: Mapping[str, Baseline]


@dataclass(frozen=True)
class Record:
    """
    Everything that survives the process: the content of the journal.

    Attributes:
        sequence: Number of the last batch, from 1.
        acknowledged: The baseline of each source as of the last acknowledged batch.
        pending: The batch that is not acknowledged yet, or None.
        snapshots: The last snapshots of each source's maps. What they hold is reported even if a map is gone
            by then, after a reboot or a reload while no sidecar ran.
        accepted: Whether the last completed batch was acknowledged, not given up.

    """

    sequence: int = 0
    acknowledged: Mapping[str, Baseline] = field(default_factory=dict)
    pending: Batch | None = None
    snapshots: Mapping[str, Sequence[Snapshot]] = field(default_factory=dict)
    accepted: bool = False

    def after_acknowledgement(self) -> "Record":
        """Return the record once the pending batch was acknowledged."""
        return self._completed(accepted=self.accepted or bool(self.pending and self.pending.requests))

    def after_give_up(self) -> "Record":
        """Return the record once the pending batch was given up: its windows are never sent again."""
        return self._completed(accepted=False)

    def with_fields_renamed(self, names: Mapping[str, Mapping[str, str]]) -> "Record":
        """Return the record with other names, from old to new, for the fields of some sources."""
        return replace(
            self,
            acknowledged={
                source: fields.renamed(baseline, names.get(source, {}))
                for source, baseline in self.acknowledged.items()
            },
        )

    def _completed(self, *, accepted: bool) -> "Record":
        if self.pending is None:
            return self
        acknowledged = {**self.acknowledged, **self.pending.baselines}
        return Record(self.sequence, acknowledged, None, self.snapshots, accepted)
