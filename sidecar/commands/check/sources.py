# SPDX-License-Identifier: Apache-2.0
"""Whether each source can be read, or will be once `run` has attached the shipped program."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from sidecar.commands import peek
from sidecar.commands.check.attaching import require_attachable, show_forecast
from sidecar.commands.check.rows import Rows
from sidecar.describe.spec import SourceSpec
from sidecar.errors import SidecarError, SourceError, placed
from sidecar.kernel import path_lock, trusted
from sidecar.kernel.interface import Interface
from sidecar.observe.summary import shared_series
from sidecar.schema import Schema
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source

_SERIES_SHOWN = 3
_FIELDS_SHOWN = 24


def check_sources(
    specs: Sequence[SourceSpec], rows: Rows, stack: ExitStack
) -> tuple[list[Source], list[Interface]]:
    """
    Print what each source reads.

    Return the open sources, which *stack* closes, and the interfaces that `run` has yet to attach to.
    """
    opened: list[Source] = []
    attached: list[Interface] = []
    to_attach: list[Interface] = []
    for spec, is_member in _expanded(specs, rows):
        try:
            with placed(spec.at):
                found = _found(spec, stack)
        except SidecarError as error:
            # What the machine lacks, all of them lack.
            if is_member and isinstance(error, SourceError):
                rows.warned(str(spec.map_ref), f"left out: {error.cause}: {error.remedy}")
            else:
                rows.failed(str(spec.map_ref), error)
            continue
        if isinstance(found, Source):
            opened.append(found)
            attached += filter(None, [locate.interface_of(spec.map_ref)])
        else:
            to_attach.append(found)
            rows.ok(str(spec.map_ref), "not counted yet: `run` attaches the shipped program")
            show_forecast(found, rows)
    try:
        tell_apart(opened)
    except SidecarError as error:
        rows.failed("sources", error)
        return opened, to_attach
    for source in opened:
        rows.step(source.name, partial(_read, source))
    for interface in attached:
        show_forecast(interface, rows)
    return opened, to_attach


def _expanded(specs: Sequence[SourceSpec], rows: Rows) -> Sequence[tuple[SourceSpec, bool]]:
    """Return the sources that there are now, and whether a pattern stands for each; print what it matches."""
    patterns = [spec for spec in specs if spec.map_ref.is_pattern]
    try:
        found = locate.expanded(specs)
        for spec in patterns:
            matching = len(locate.expanded([spec]))
            rows.ok(
                str(spec.map_ref), f"matches {matching} now" if matching else "matches none yet: `run` waits"
            )
    except SidecarError as error:
        rows.failed(str((patterns or specs)[0].map_ref), error)
        return [(spec, False) for spec in specs if spec not in patterns]
    return found


def _found(spec: SourceSpec, stack: ExitStack) -> Source | Interface:
    """Return the open source, or the interface that `run` has yet to attach to, and can."""
    interface = locate.interface_of(spec.map_ref)
    if interface:
        _require_unlocked(interface)
        if not peek.is_counted(interface):
            if not peek.is_counted(interface.packets):
                require_attachable(interface)
            return interface
    source = peek.source(spec)
    source.open()
    stack.callback(source.close)
    return source


def _require_unlocked(interface: Interface) -> None:
    """Raise SourceError if another sidecar counts on the interface (`kernel.interface_lock`)."""
    # Another user's directory cannot be opened; `run` will say so.
    with suppress(OSError):
        fd = trusted.open_directory(interface.pin_directory)
        try:
            if not path_lock.try_lock(fd):
                cause = f"another sidecar counts there ({path_lock.holder(fd)})"
                how = "if that is the one you are checking, it is running; else stop it"
                raise SourceError(f"attach to {interface.name}", cause, how)
        finally:
            os.close(fd)


def _read(source: Source) -> Iterator[str]:
    """Yield what a source reads and its first series; raise SourceError for a sum that OTLP cannot encode."""
    snapshot = source.read()[-1]
    rows = peek.rows(source.schema, snapshot)
    keys = len(snapshot.reading.cells)
    room = f"{keys:,} of {source.info.max_entries:,} keys"
    yield f"{peek.describe(source)}, {room}, {len(rows):,} series as {source.schema.name}"
    if shared := shared_series(source.schema, keys, len(rows)):
        yield shared
    for row in rows[:_SERIES_SHOWN]:
        yield _series(row, source.schema)
    _check_encodable(rows, source.schema)
    if len(rows) > _SERIES_SHOWN:
        yield f"… and {len(rows) - _SERIES_SHOWN:,} more: `xdp-otel dump` shows all"


def _series(row: peek.Row, schema: Schema) -> str:
    """Return a series as text: `proto=tcp: packets 12, bytes 1,234`."""
    attributes = " ".join(f"{name}={peek.text(value)}" for name, value in row.attributes) or "all"
    counts = [f"{column.title} {column.text(row.numbers)}" for column in peek.shown(schema, row.views)]
    counts[_FIELDS_SHOWN:] = ["…"] if len(counts) > _FIELDS_SHOWN else []
    return f"{attributes}: {', '.join(counts)}"


def _check_encodable(rows: Sequence[peek.Row], schema: Schema) -> None:
    for at, instrument in schema.positions:
        if not instrument.is_double and not instrument.histogram:
            largest = max((row.numbers[at] for row in rows), default=0)
            instrument.kind.check(largest, schema.numbers[at])
