# SPDX-License-Identifier: Apache-2.0
"""From snapshots and a baseline to increments and the next baseline (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.model import Baseline, Snapshot, Totals
from sidecar.percpu import U64

Counts = dict[bytes, tuple[int, ...]]


@dataclass(frozen=True)
class Advance:
    """
    What one window brought for one source.

    Attributes:
        settled_ns: Up to when the Collector is known to have the series, Unix ns.
        start_ns: Start of the window, Unix ns: the end of the one before.
        counts: For each key, what each field counted in the window.
        baseline: The baseline that holds once the window is acknowledged.
        snapshots: The readings that it was made of, without the maps that were reported before.
        emptied: Keys whose counters went backwards within one map: somebody emptied it.
        vanished: Keys that are no longer in the map.

    """

    settled_ns: int
    start_ns: int
    counts: Counts
    baseline: Baseline
    snapshots: Sequence[Snapshot]
    emptied: tuple[bytes, ...] = ()
    vanished: tuple[bytes, ...] = ()


def advance(baseline: Baseline, snapshots: Sequence[Snapshot]) -> Advance:
    """
    Take one source a window further.

    *snapshots* are of the generations of its map since the baseline, oldest first: usually one; two when a
    new map took its place, the old one read a last time. For each there are three cases:

    1. The baseline's own map: what it counted since is the difference.
    2. Another map: it counted from zero, so all of it is new; what the map before it had counted is finished.
    3. A counter below its baseline within one map: its entry was emptied, so all of what the entry has now
       is new. The same holds for a key that was deleted and comes back.

    The window is (end of the last one, *taken_ns* of the newest snapshot], and at least 1 ns long, also when
    the wall clock was stepped back, because a point whose time is not newer than the last would be dropped
    as a duplicate.
    """
    identities = [snapshot.identity for snapshot in snapshots]
    if baseline.identity in identities:
        # What came before the baseline's own map has been reported with it.
        snapshots = snapshots[identities.index(baseline.identity) :]
    counts: Counts = {}
    emptied: list[bytes] = []
    vanished: list[bytes] = []
    known, identity, finished = baseline.totals, baseline.identity, dict(baseline.finished)
    for snapshot in snapshots:
        if snapshot.identity != identity:
            _add(finished, known)
            known, identity = {}, snapshot.identity
        backwards = {key for key, now in snapshot.totals.items() if _went_back(now, known.get(key))}
        gone = known.keys() - snapshot.totals.keys()
        emptied += backwards
        vanished += gone
        ended = {key: known[key] for key in backwards | gone}
        _add(finished, ended)
        going_on = {key: was for key, was in known.items() if key not in ended}
        _add(counts, {key: _minus(now, going_on.get(key)) for key, now in snapshot.totals.items()})
        known = snapshot.totals
    end_ns = max(snapshots[-1].taken_ns, baseline.end_ns + 1)
    following = Baseline(identity, baseline.birth_ns, end_ns, end_ns, known, finished)
    return Advance(
        settled_ns=baseline.settled_ns,
        start_ns=baseline.end_ns,
        counts=counts,
        baseline=following,
        snapshots=snapshots,
        emptied=tuple(emptied),
        vanished=tuple(vanished),
    )


def since_birth(snapshot: Snapshot) -> Baseline:
    """Return the baseline of a source that was never reported: nothing yet, since its map began to count."""
    birth_ns = snapshot.born_ns
    return Baseline(snapshot.identity, birth_ns, birth_ns, birth_ns, {})


def as_reported(snapshot: Snapshot) -> Baseline:
    """
    Return the baseline that takes all that a map holds as reported, in the first nanosecond of its life.

    Sent as base point it tells a new Collector everything, and one that knows the series nothing.
    """
    birth_ns, end_ns = snapshot.born_ns, snapshot.born_ns + 1
    return Baseline(snapshot.identity, birth_ns, end_ns, end_ns, snapshot.totals)


def from_now_on(snapshot: Snapshot) -> Baseline:
    """Return the baseline that leaves out all that a map holds: it may have been reported before."""
    now_ns = snapshot.taken_ns
    return Baseline(snapshot.identity, now_ns, now_ns, now_ns, snapshot.totals)


def generations(seen: Sequence[Snapshot], read: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """Return *read*, and before it those maps of *seen* that are no longer there to be read."""
    present = {snapshot.identity for snapshot in read}
    return (*(snapshot for snapshot in seen if snapshot.identity not in present), *read)


def total(baseline: Baseline, key: bytes) -> tuple[int, ...]:
    """Return what a key has counted from birth to the baseline, over all generations of its map."""
    parts = [totals[key] for totals in (baseline.finished, baseline.totals) if key in totals]
    return tuple(sum(column) & U64 for column in zip(*parts, strict=True))


def _went_back(now: tuple[int, ...], before: tuple[int, ...] | None) -> bool:
    return before is not None and any(new < old for new, old in zip(now, before, strict=True))


def _minus(now: tuple[int, ...], before: tuple[int, ...] | None) -> tuple[int, ...]:
    return now if before is None else tuple(new - old for new, old in zip(now, before, strict=True))


def _add(sums: Counts, more: Totals) -> None:
    for key, counts in more.items():
        # Modulo 2^64, as the kernel's counters.
        sums[key] = tuple(
            (one + other) & U64 for one, other in zip(counts, sums.get(key, (0,) * len(counts)), strict=True)
        )
