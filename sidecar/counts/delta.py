# SPDX-License-Identifier: Apache-2.0
"""
From snapshots and a baseline to series and the next baseline (pure).

A map is read by key and reported by series: what a key counted is posted to the series that its attributes
name at that moment, and stays there. Several keys may share a series, and a key may change to another.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from sidecar.attributes import encode_attributes
from sidecar.counts import idle
from sidecar.counts.aggregate import Aggregated, WindowResult, add_to, post
from sidecar.counts.cells import growth, values
from sidecar.counts.columns.table import Table, key_size
from sidecar.counts.resets import Counters, Resets
from sidecar.model import Attributes, Baseline, Cells, Column, Reading, Series, Snapshot, StreamState
from sidecar.schema import OVERFLOW, Schema
from sidecar.u64 import added

# The present one, and the one before it, which a rollback brings back; and all that can still be read.
MAPS_REMEMBERED = 2


@dataclass(frozen=True, kw_only=True)
class NextWindow(WindowResult):
    """
    What one window brought for one source, and what holds after it.

    Attributes:
        baseline: The baseline that holds once the window is acknowledged.
        snapshots: The readings that it was made of, without those that were reported before.

    """

    baseline: Baseline
    snapshots: Sequence[Snapshot]


def advance(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, *, include_idle: bool = True
) -> NextWindow:
    """
    Take one source a window further; unless *include_idle*, series that counted nothing may be left out.

    *snapshots* are of the generations of its map since the baseline, oldest first and each once: usually one;
    two when a new map took its place, the old one read a last time. For each there are three cases:

    1. A map that the baseline knows: what it counted since is the difference.
    2. Another map: it counted from zero, so all of it is new.
    3. All counters of an entry below their baseline within one map: it was emptied, so all of what they have
       now is new. The same holds for a key that was deleted and comes back. A counter that fell while others
       did not is none: its fall is not counted (`resets`).

    The window is (end of the last one, *taken_ns* of the newest snapshot], and at least 1 ns long, also when
    the wall clock was stepped back, because a point whose time is not newer than the last would be dropped
    as a duplicate. What rates are divided by is not that length, see `Snapshot.after_ns`.
    """
    newest = snapshots[-1]
    maps = dict(baseline.maps)
    for snapshot in snapshots:
        maps.pop(snapshot.identity, None)
        maps[snapshot.identity] = snapshot.reading
    remembered = dict(list(maps.items())[-max(MAPS_REMEMBERED, len(snapshots)) :])
    snapshots = [*(one for one in snapshots[:-1] if baseline.maps.get(one.identity) != one.reading), newest]
    end_ns = max(newest.taken_ns, baseline.end_ns + 1)
    # Windows of 1 ns say nothing of how long a series was left out.
    stepped_back = newest.taken_ns <= baseline.end_ns
    step = _step(baseline, snapshots, schema, end_ns, include_idle=include_idle or stepped_back)
    fields = _fields(newest.reading)
    after = Baseline(baseline.start_time_ns, end_ns, remembered, fields, step.streams, newest.boottime_ns)
    return NextWindow(**vars(step), baseline=after, snapshots=snapshots)


def _step(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, end_ns: int, *, include_idle: bool
) -> WindowResult:
    if isinstance(snapshots[-1].reading.cells, Table):
        # Small maps need no numpy: it is 12 MB.
        from sidecar.counts.columns import delta as column_delta  # noqa: PLC0415

        if column_delta.fits(baseline, snapshots, schema):
            return column_delta.step(baseline, snapshots, schema, end_ns, include_idle=include_idle)
    return step(baseline, snapshots, schema, end_ns, include_idle=include_idle)


def step(
    baseline: Baseline, snapshots: Sequence[Snapshot], schema: Schema, end_ns: int, *, include_idle: bool
) -> WindowResult:
    """Return what the window up to *end_ns* brought, key by key; `columnar_delta.step` says the same."""
    newest = snapshots[-1]
    fields = _fields(newest.reading)
    maps = dict(baseline.maps)
    grown: list[tuple[Attributes, tuple[int, ...]]] = []
    resets = Resets()
    vanished: list[bytes] = []
    for snapshot in snapshots:
        known, columns = _known(maps.pop(snapshot.identity, None), snapshot.reading)
        vanished += known.keys() - snapshot.reading.cells.keys()
        counters, in_order = Counters(columns), _order(_fields(snapshot.reading), fields)
        # The keys of a map that had others cannot be told by the present one's.
        readable = snapshot.identity.key_size == newest.identity.key_size
        for key, now in snapshot.reading.cells.items():
            was = known.get(key)
            if was is not None and counters.may_have_fallen(now, was):
                was = resets.began(key, now, was, counters)
            attributes = schema.attributes_of(key) if readable else (*schema.attributes, OVERFLOW)
            grown.append((attributes, in_order(growth(now, was, columns))))
    posted = post(_accounts(baseline, fields), grown, schema)
    elapsed_ns = newest.after_ns(baseline.end_ns, baseline.boottime_ns)
    series = _series(baseline, end_ns, posted, _values(snapshots, schema, posted.counts), elapsed_ns)
    to_export = series if include_idle or not idle.can_omit_idle(schema, len(series)) else idle.select(series)
    # One that is not said counted nothing, so its account stays as it is.
    streams = {one.attributes: StreamState(one.totals, end_ns) for one in to_export}
    return WindowResult(
        series,
        to_export,
        {**posted.streams, **streams},
        tuple(resets.emptied),
        tuple(vanished),
        posted.overflowed,
        posted.forgotten,
        resets.fallen,
        resets.falls,
        _gone(baseline, posted, schema),
    )


def since_birth(snapshot: Snapshot) -> Baseline:
    """Return the baseline of a source that was never reported: nothing yet, since its map began to count."""
    nothing = Reading(snapshot.reading.columns, {})
    return Baseline(
        snapshot.counting_since_ns,
        snapshot.counting_since_ns,
        {snapshot.identity: nothing},
        _fields(snapshot.reading),
    )


def as_reported(snapshot: Snapshot, schema: Schema) -> Baseline:
    """
    Return the baseline that takes all that a map holds as reported, in the first nanosecond of its life.

    Sent as base point it tells a new Collector include_idle, and one that knows the series nothing.
    """
    first_ns = snapshot.counting_since_ns + 1
    return advance(since_birth(snapshot), [replace(snapshot, taken_ns=first_ns)], schema).baseline


def probe(baseline: Baseline, snapshot: Snapshot, schema: Schema) -> NextWindow:
    """
    Return the window of 1 ns after the baseline in which nothing is counted, with the series of a reading.

    What was counted since stays to be reported: should nobody want it, nothing is lost.
    """
    as_if_known = replace(baseline, maps={snapshot.identity: snapshot.reading})
    step = advance(as_if_known, [replace(snapshot, taken_ns=0)], schema)
    after = replace(step.baseline, maps=baseline.maps, boottime_ns=baseline.boottime_ns)
    return replace(step, baseline=after)


def from_now_on(snapshot: Snapshot) -> Baseline:
    """Return the baseline that leaves out all that a map holds: it may have been reported before."""
    now_ns = snapshot.taken_ns
    reading = snapshot.reading
    return Baseline(
        now_ns,
        now_ns,
        {snapshot.identity: reading},
        _fields(reading),
        boottime_ns=snapshot.boottime_ns,
    )


def generations(seen: Sequence[Snapshot], read: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """Return *read*, and before it those maps of *seen* that are no longer there to be read."""
    present = {snapshot.identity for snapshot in read}
    return (*(snapshot for snapshot in seen if snapshot.identity not in present), *read)


def _series(
    baseline: Baseline,
    end_ns: int,
    posted: Aggregated,
    held: Mapping[Attributes, tuple[int, ...]],
    elapsed_ns: int,
) -> list[Series]:
    series = []
    for attributes, counts in posted.counts.items():
        account = posted.streams.get(attributes)
        series.append(
            Series(
                attributes,
                start_time_ns=baseline.start_time_ns,
                is_new=account is None,
                start_ns=account.end_ns if account else baseline.end_ns,
                end_ns=end_ns,
                counts=counts,
                totals=added(account.totals, counts) if account else counts,
                values=held.get(attributes, ()),
                elapsed_ns=elapsed_ns,
            )
        )
    return series


def _gone(baseline: Baseline, posted: Aggregated, schema: Schema) -> tuple[bytes, ...]:
    if not schema.has_gauges:
        return ()
    return tuple(
        encode_attributes(one)
        for one, account in posted.streams.items()
        if account.end_ns == baseline.end_ns and one not in posted.counts
    )


def _values(
    snapshots: Sequence[Snapshot], schema: Schema, room: Mapping[Attributes, object]
) -> Mapping[Attributes, tuple[int, ...]]:
    """
    Return what the fields of each series hold, if some instrument wants to know.

    A series that has no key in the newest map any more holds what it was last read as.
    """
    held: dict[Attributes, tuple[int, ...]] = {}
    if not schema.needs_values:
        return held
    newest, overflow = snapshots[-1], (*schema.attributes, OVERFLOW)
    for snapshot in snapshots:
        in_this: dict[Attributes, tuple[int, ...]] = {}
        columns = snapshot.reading.columns
        in_order = _order(_fields(snapshot.reading), _fields(newest.reading))
        readable = snapshot.identity.key_size == newest.identity.key_size
        for key, now in snapshot.reading.cells.items():
            attributes = schema.attributes_of(key) if readable else overflow
            add_to(in_this, attributes if attributes in room else overflow, in_order(values(now, columns)))
        held |= in_this
    return held


def _known(before: Reading | None, now: Reading) -> tuple[Cells, tuple[Column, ...]]:
    """
    Return how the baseline knows a map, in the columns of the present reading, and these columns.

    A field that was not read before counts from now on: so it can never be counted twice. What it held nobody
    knows, so in this window it is no counter that could say whether it fell.
    """
    if before is None:
        return {}, now.columns
    if before.cells and now.cells and key_size(before.cells) != key_size(now.cells):
        # CPUs are told apart since then, or are no longer: nobody knows what each of these entries held.
        return now.cells, now.columns
    if before.columns == now.columns:
        return before.cells, now.columns
    read = set(map(_place, before.columns))
    columns = tuple(one if _place(one) in read else one._replace(monotonic=False) for one in now.columns)
    known = {
        key: _rearranged(was, before.columns, now.cells[key], columns)
        for key, was in before.cells.items()
        if key in now.cells
    }
    return known, columns


def _rearranged(
    was: tuple[int, ...], old: Sequence[Column], now: tuple[int, ...], new: Sequence[Column]
) -> tuple[int, ...]:
    known = {_place(column): cells for column, cells in _by_column(was, old)}
    parts = (known.get(_place(column), cells) for column, cells in _by_column(now, new))
    return tuple(chain.from_iterable(parts))


def _place(column: Column) -> Column:
    """Return what makes a column the same, whatever metrics are made of it."""
    return column._replace(monotonic=False)


def _by_column(cells: tuple[int, ...], columns: Sequence[Column]) -> Iterator[tuple[Column, tuple[int, ...]]]:
    at = 0
    for column in columns:
        yield column, cells[at : at + column.cells]
        at += column.cells


def _accounts(baseline: Baseline, fields: tuple[str, ...]) -> Mapping[Attributes, StreamState]:
    """Return the streams with their totals in the order of *fields*; a new field has counted nothing."""
    if baseline.fields == fields:
        return baseline.streams
    in_order = _order(baseline.fields, fields)
    return {
        one: replace(account, totals=in_order(account.totals)) for one, account in baseline.streams.items()
    }


def _order(old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    if old == new:
        return lambda numbers: numbers
    places = [old.index(field) if field in old else None for field in new]
    return lambda numbers: tuple(0 if place is None else numbers[place] for place in places)


def _fields(reading: Reading) -> tuple[str, ...]:
    return tuple(column.field for column in reading.columns)
