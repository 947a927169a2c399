# SPDX-License-Identifier: Apache-2.0
"""Whether each source can be read, or will be once `run` has attached the shipped program."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from sidecar.commands import peek
from sidecar.commands.check.rows import Rows
from sidecar.describe.spec import SourceSpec
from sidecar.errors import RightsError, SidecarError, SourceError, placed
from sidecar.kernel import dispatcher, features, netlink, netns, path_lock, trusted
from sidecar.kernel.capabilities import Capability, missing
from sidecar.kernel.interface import Interface, index_of, no_such_interface
from sidecar.kernel.libbpf import LOAD_RIGHTS
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
    to_attach: list[Interface] = []
    for spec in specs:
        try:
            with placed(spec.at):
                found = _found(spec, stack)
        except SidecarError as error:
            rows.failed(str(spec.map_ref), error)
            continue
        if isinstance(found, Source):
            opened.append(found)
        else:
            to_attach.append(found)
            rows.ok(str(spec.map_ref), "not counted yet: `run` attaches the shipped program")
    try:
        tell_apart(opened)
    except SidecarError as error:
        rows.failed("sources", error)
        return opened, to_attach
    for source in opened:
        rows.step(source.name, partial(_read, source))
    return opened, to_attach


def _found(spec: SourceSpec, stack: ExitStack) -> Source | Interface:
    """Return the open source, or the interface that `run` has yet to attach to, and can."""
    interface = locate.interface_of(spec.map_ref)
    if interface:
        _require_unlocked(interface)
        if not peek.is_counted(interface):
            _require_attachable(interface)
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


def _require_attachable(interface: Interface) -> None:
    """Raise SidecarError if `run` could not attach: no interface, a foreign program, missing rights."""
    what = f"attach to {interface.name}"
    if interface.direction == "transmit":
        with netns.entered(interface.netns):
            index_of(interface, what)
            features.require_tcx(what)
        _require_rights(LOAD_RIGHTS, what)
        return
    with netns.entered(interface.netns):
        link = next((link for link in netlink.links() if link.name == interface.name), None)
        if link is None:
            raise no_such_interface(what, interface)
    for _, prog_id in link.programs:
        if not dispatcher.pins_of(link.ifindex, prog_id):
            raise SourceError(
                what,
                f"it carries another XDP program (id {prog_id}), which is not replaced",
                "read its maps instead: `xdp-otel discover` shows how",
            )
    _require_rights(dispatcher.RIGHTS if link.programs else LOAD_RIGHTS, what)


def _require_rights(rights: Sequence[Capability], what: str) -> None:
    lacking = missing(*rights)
    if lacking:
        names = " and ".join(map(str, lacking))
        raise RightsError(what, f"without {names}", "run as root, or add the missing capabilities")


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
