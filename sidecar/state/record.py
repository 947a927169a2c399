# SPDX-License-Identifier: Apache-2.0
"""What survives the process, and what of it holds after each response (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sidecar.model import Baseline, Snapshot


@dataclass(frozen=True)
class Batch:
    """
    A frozen batch: the same bytes for ever, and the baselines that hold once they are acknowledged.

    Attributes:
        requests: Serialized ExportMetricsServiceRequests.
        baselines: The next baseline of each source that is in the batch.

    """

    requests: tuple[bytes, ...]
    baselines: Mapping[str, Baseline]


@dataclass(frozen=True)
class Record:
    """
    All that has to survive the process: the journal's content.

    Attributes:
        sequence: Counts the batches, from 1.
        acknowledged: The baseline of each source as of the last acknowledged batch.
        pending: The one batch that is not acknowledged yet, or None.
        seen: What each source was last read as. It is reported even if the map is gone by then: after a
            reboot, or a reload while no sidecar ran.
        accepted: Whether the last batch that is behind us was acknowledged, and not given up.

    """

    sequence: int = 0
    acknowledged: Mapping[str, Baseline] = field(default_factory=dict)
    pending: Batch | None = None
    seen: Mapping[str, Sequence[Snapshot]] = field(default_factory=dict)
    accepted: bool = False

    def after_acknowledgement(self) -> "Record":
        """Return the record as it stands once its batch was acknowledged."""
        return self._moved_on(accepted=self.accepted or bool(self.pending and self.pending.requests))

    def after_give_up(self) -> "Record":
        """Return the record as it stands once its batch was given up: its windows are never sent again."""
        return self._moved_on(accepted=False)

    def _moved_on(self, *, accepted: bool) -> "Record":
        if self.pending is None:
            return self
        acknowledged = {**self.acknowledged, **self.pending.baselines}
        return replace(self, acknowledged=acknowledged, pending=None, accepted=accepted)
