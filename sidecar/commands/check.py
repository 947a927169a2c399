# SPDX-License-Identifier: Apache-2.0
"""
`xdp-otel check`: whether `run` would work with the same flags, or else the first thing to fix.

It attaches nothing, exports nothing and leaves nothing behind: the request to the Collector is empty.
"""

import argparse
import errno
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sidecar.commands import peek
from sidecar.config import Config, config_from
from sidecar.describe.spec import MapRef
from sidecar.errors import NotAcknowledgedError, RightsError, SourceError, StateError, explain, printable
from sidecar.kernel import dispatcher, netlink, netns, path_lock
from sidecar.kernel.capabilities import missing
from sidecar.kernel.interface import Interface, no_such_interface
from sidecar.kernel.libbpf import LOAD_RIGHTS
from sidecar.observe.log_handler import LONGEST_LINE
from sidecar.observe.summary import shared_series
from sidecar.otlp.endpoint import NOWHERE
from sidecar.otlp.outcome import Delivered
from sidecar.schema import Schema
from sidecar.sources import locate
from sidecar.sources.source import Source

_SERIES_SHOWN = 3
_FIELDS_SHOWN = 24
_TIMEOUT_S = 5.0
_REMEDIES = {
    "UNAVAILABLE": "is it running, and is that its OTLP/gRPC address? --no-endpoint skips it",
    "DEADLINE_EXCEEDED": "does a firewall drop the packets, or does it expect TLS (https://)?",
    "UNAUTHENTICATED": "set its credentials in OTEL_EXPORTER_OTLP_HEADERS",
    "PERMISSION_DENIED": "set its credentials in OTEL_EXPORTER_OTLP_HEADERS",
    "UNIMPLEMENTED": "is that an OTLP/gRPC address, and does it have a metrics pipeline?",
}


def check(flags: argparse.Namespace) -> int:
    """Print each thing that works; raise SidecarError for the first that does not."""
    config = config_from(flags, os.environ)
    not_attached = [spec.map_ref for spec in config.sources if not _exists(spec.map_ref)]
    with peek.opened([spec for spec in config.sources if spec.map_ref not in not_attached]) as sources:
        for source in sources:
            _check_source(source)
    for place in not_attached:
        _print(f"{place}: not counted yet: `run` attaches the shipped program")
    _check_state_directory(config.state_dir)
    if flags.no_endpoint:
        _print(f"Collector {config.endpoint.target}: not contacted (--no-endpoint)")
    else:
        _check_collector(config)
    _print("OK")
    return 0


def _print(line: str) -> None:
    print(printable(line, LONGEST_LINE))


def _exists(map_ref: MapRef) -> bool:
    """Return False for an interface that `run` has yet to attach to; raise SidecarError if it could not."""
    interface = locate.interface_of(map_ref)
    if interface is None or peek.is_counted(interface):
        return True
    _check_attachable(interface)
    return False


def _check_attachable(interface: Interface) -> None:
    """Raise SidecarError if `run` could not attach: no interface, a foreign program, missing rights."""
    what = f"attach to {interface.name}"
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
    lacking = missing(*(dispatcher.RIGHTS if link.programs else LOAD_RIGHTS))
    if lacking:
        names = " and ".join(map(str, lacking))
        raise RightsError(what, f"without {names}", "run as root, or add the missing capabilities")


def _check_source(source: Source) -> None:
    """Print what a source reads and its first series; raise SourceError for a sum that OTLP cannot encode."""
    snapshot = source.read()[-1]
    rows = peek.rows(source.schema, snapshot)
    keys = len(snapshot.reading.cells)
    room = f"{keys:,} of {source.info.max_entries:,} keys"
    _print(f"{source.name}: {peek.describe(source)}, {room}, {len(rows):,} series as {source.schema.name}")
    if shared := shared_series(source.schema, keys, len(rows)):
        _print(f"    {shared}")
    for row in rows[:_SERIES_SHOWN]:
        _print(f"    {_series(row, source.schema)}")
    _check_encodable(rows, source.schema)
    if len(rows) > _SERIES_SHOWN:
        _print(f"    … and {len(rows) - _SERIES_SHOWN:,} more: `xdp-otel dump` shows all")


def _series(row: peek.Row, schema: Schema) -> str:
    """Return a series as text: `proto=tcp: packets 12, bytes 1,234`."""
    attributes = " ".join(f"{name}={peek.text(value)}" for name, value in row.attributes) or "all"
    names = (field.name for field in schema.layout.fields)
    counts = [f"{name} {number:,}" for name, number in zip(names, row.numbers, strict=True)]
    counts[_FIELDS_SHOWN:] = ["…"] if len(counts) > _FIELDS_SHOWN else []
    return f"{attributes}: {', '.join(counts)}"


def _check_encodable(rows: Sequence[peek.Row], schema: Schema) -> None:
    for at, instrument in schema.positions:
        largest = max((row.numbers[at] for row in rows), default=0)
        instrument.kind.check(largest, schema.layout.fields[at])


def _check_state_directory(directory: Path) -> None:
    """Raise StateError unless the state directory is writable; leave nothing in it."""
    what = f"write into state directory {directory}"
    remedy = "make it a writable directory, or name another with --state-dir"
    # `run` creates missing directories.
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise StateError(what, f"{existing} is not a directory", remedy)
    try:
        # A file without a name leaves nothing behind even if we are killed. Not all file systems have it.
        os.close(os.open(existing, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or not os.access(existing, os.W_OK | os.X_OK):
            raise StateError(what, explain(error), remedy) from None
    _print(f"state directory {directory}: writable{_user_of(directory)}")


def _user_of(directory: Path) -> str:
    """Return which running sidecar has locked the directory (`state.journal`); empty if none has."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if path_lock.try_lock(fd):
            return ""
        return f", in use by {path_lock.holder(fd)}: a second `run` needs a different one"
    finally:
        os.close(fd)


def _check_collector(config: Config) -> None:
    """Raise NotAcknowledgedError unless the Collector accepts an empty request."""
    endpoint = config.endpoint
    if endpoint.target == NOWHERE:
        _print("Collector: none; the status endpoint serves the counts")
        return
    # gRPC takes most of the memory and of the start-up time: --no-endpoint does without.
    from sidecar.otlp_push import Pusher  # noqa: PLC0415

    with closing(Pusher(endpoint)) as pusher:
        # No bytes are an ExportMetricsServiceRequest without metrics.
        outcome = pusher.push(b"", timeout_s=_TIMEOUT_S)
    transport = "TLS" if endpoint.secure else "plaintext"
    if not isinstance(outcome, Delivered):
        raise NotAcknowledgedError(
            f"reach the Collector at {endpoint.target} ({transport})",
            f"{outcome.code}: {outcome.message}",
            _REMEDIES.get(outcome.code, "see the Collector's log"),
        )
    _print(f"Collector {endpoint.target} ({transport}): accepts requests")
