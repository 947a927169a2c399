# SPDX-License-Identifier: Apache-2.0
"""From snapshots and a baseline to increments and the next baseline (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.model import Baseline, Snapshot, Totals

Counts = dict[bytes, tuple[int, ...]]


@dataclass(frozen=True)
class Advance:
    """
    What one window brought for one source.

    Attributes:
        start_ns: Start of the window, Unix ns: the end of the one before.
        counts: For each key, what each field counted in the window.
        baseline: The baseline that holds once the window is acknowledged.
        emptied: Keys whose counters went backwards within one map: somebody emptied it.

    """

    start_ns: int
    counts: Counts
    baseline: Baseline
    emptied: tuple[bytes, ...] = ()


def advance(baseline: Baseline | None, snapshots: Sequence[Snapshot]) -> Advance:
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
    if baseline and baseline.identity in identities:
        # What came before the baseline's own map has been reported with it.
        snapshots = snapshots[identities.index(baseline.identity) :]
    newest = snapshots[-1]
    start_ns = baseline.end_ns if baseline else snapshots[0].born_ns
    counts: Counts = {}
    emptied: list[bytes] = []
    known: Totals = baseline.totals if baseline else {}
    identity = baseline.identity if baseline else None
    finished: Counts = dict(baseline.finished) if baseline else {}
    for snapshot in snapshots:
        if snapshot.identity != identity:
            _finish(finished, known)
            known, identity = {}, snapshot.identity
        backwards = [key for key, now in snapshot.totals.items() if _went_back(now, known.get(key))]
        emptied += backwards
        restarted = {key: known[key] for key in known if key in backwards or key not in snapshot.totals}
        _finish(finished, restarted)
        for key, now in snapshot.totals.items():
            before = None if key in restarted else known.get(key)
            grown = now if before is None else _pairwise(int.__sub__, now, before)
            counts[key] = _pairwise(int.__add__, counts[key], grown) if key in counts else grown
        known = snapshot.totals
    end_ns = max(newest.taken_ns, start_ns + 1)
    return Advance(
        start_ns,
        counts,
        Baseline(newest.identity, baseline.birth_ns if baseline else start_ns, end_ns, known, finished),
        tuple(emptied),
    )


def _went_back(now: tuple[int, ...], before: tuple[int, ...] | None) -> bool:
    return before is not None and any(new < old for new, old in zip(now, before, strict=True))


def _pairwise(
    operation: Callable[[int, int], int], left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[int, ...]:
    return tuple(map(operation, left, right))


def _finish(finished: Counts, ended: Totals) -> None:
    for key, counts in ended.items():
        finished[key] = _pairwise(int.__add__, finished[key], counts) if key in finished else counts
