# SPDX-License-Identifier: Apache-2.0
"""
`xdp-otel check`: would `run` with the same flags work? Says so, or the first thing to mend.

Nothing is attached, counted or left behind: the request that asks the Collector is empty.
"""

import argparse
import errno
import os
from contextlib import closing
from pathlib import Path

from sidecar.commands import peek
from sidecar.config import Config, config_from
from sidecar.describe.spec import MapRef
from sidecar.errors import NotAcknowledgedError, RightsError, SourceError, StateError, explain, printable
from sidecar.kernel import dispatcher, netlink, netns, path_lock
from sidecar.kernel.capabilities import missing
from sidecar.kernel.interface import Interface
from sidecar.kernel.libbpf import LOAD_RIGHTS
from sidecar.observe.summary import shared_series
from sidecar.otlp.endpoint import NOWHERE
from sidecar.otlp.outcome import Delivered
from sidecar.sources.source import Source

_MOST_SHOWN = 3
_LONGEST_LINE = 4000
_MOST_FIELDS_SHOWN = 24
_PATIENCE_S = 5.0
_ANSWERS = {
    "UNAVAILABLE": "is it running, and is that its OTLP/gRPC address? --no-endpoint leaves it out",
    "DEADLINE_EXCEEDED": "does a firewall swallow it, or does it listen for TLS (https://)?",
    "UNAUTHENTICATED": "give its credentials in OTEL_EXPORTER_OTLP_HEADERS",
    "PERMISSION_DENIED": "give its credentials in OTEL_EXPORTER_OTLP_HEADERS",
    "UNIMPLEMENTED": "is that an OTLP/gRPC address, and has it a metrics pipeline?",
}


def check(flags: argparse.Namespace) -> int:
    """Print what was found to work; raise SidecarError for the first thing that would not."""
    config = config_from(flags, os.environ)
    # In their order, and found at once.
    absent = {spec.map_ref: None for spec in config.sources if not _is_there(spec.map_ref)}
    with peek.opened([spec for spec in config.sources if spec.map_ref not in absent]) as sources:
        for source in sources:
            _show(source)
    for place in absent:
        _say(f"{place}: not counted yet: `run` attaches the shipped program")
    _state_directory(config.state_dir)
    if flags.no_endpoint:
        _say(f"Collector {config.endpoint.target}: not asked (--no-endpoint)")
    else:
        _collector(config)
    _say("OK")
    return 0


def _say(line: str) -> None:
    print(printable(line, _LONGEST_LINE))


def _is_there(place: MapRef) -> bool:
    """Return False for an interface that only `run` will attach to; raise SidecarError if it could not."""
    interface = peek.interface_of(place)
    if interface is None or peek.is_counted(interface):
        return True
    _can_be_attached(interface)
    return False


def _can_be_attached(interface: Interface) -> None:
    """Raise SidecarError if `run` could not attach there: the interface, what it carries, the rights."""
    what = f"attach to {interface.name}"
    with netns.entered(interface.netns):
        link = next((link for link in netlink.links() if link.name == interface.name), None)
    if link is None:
        where = f" in network namespace {interface.netns}" if interface.netns else ""
        raise SourceError(what, f"no such interface{where}", "`ip link` shows the names")
    for _, prog_id in link.programs:
        if not dispatcher.pins_of(link.ifindex, prog_id):
            raise SourceError(
                what,
                f"it carries another XDP program (id {prog_id}), which is not replaced",
                "read that one's maps: `xdp-otel discover` shows how",
            )
    absent = missing(*(dispatcher.RIGHTS if link.programs else LOAD_RIGHTS))
    if absent:
        names = " and ".join(map(str, absent))
        raise RightsError(what, f"without {names}", "run as root, or add what is missing")


def _show(source: Source) -> None:
    """Print what a source reads, and some of its series."""
    snapshot = source.read()[-1]
    schema = source.schema
    rows = peek.rows(schema, snapshot)
    room = f"{len(snapshot.reading.cells):,} of {source.info.max_entries:,} keys"
    made = f"{len(rows):,} series as {schema.name}"
    _say(f"{source.name}: {peek.describe(source)}, {room}, {made}")
    if shared := shared_series(schema, len(snapshot.reading.cells), len(rows)):
        _say(f"    {shared}")
    names = [field.name for field in schema.layout.fields]
    for row in rows[:_MOST_SHOWN]:
        said = [f"{name}={peek.text(value)}" for name, value in row.attributes]
        counts = [f"{name} {number:,}" for name, number in zip(names, row.numbers, strict=True)]
        counts[_MOST_FIELDS_SHOWN:] = ["…"] if len(counts) > _MOST_FIELDS_SHOWN else []
        _say(f"    {' '.join(said) or 'all'}: {', '.join(counts)}")
    for at, instrument in schema.positions:
        most = max((row.numbers[at] for row in rows), default=0)
        instrument.kind.check(most, schema.layout.fields[at])
    if len(rows) > _MOST_SHOWN:
        _say(f"    … and {len(rows) - _MOST_SHOWN:,} more: `xdp-otel dump` shows all")


def _state_directory(directory: Path) -> None:
    """Say that the state directory can be written; raise StateError if not. Leaves nothing there."""
    what = f"write into state directory {directory}"
    remedy = "make it a writable directory, or name another with --state-dir"
    # `run` makes what is missing.
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        raise StateError(what, f"{there} is no directory", remedy)
    try:
        # No name, so nothing is left even if we are killed; not every file system can (tmpfs and ext4 can).
        os.close(os.open(there, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or not os.access(there, os.W_OK | os.X_OK):
            raise StateError(what, explain(error), remedy) from None
    _say(f"state directory {directory}: writable{_user_of(directory)}")


def _user_of(directory: Path) -> str:
    """Return that a sidecar runs with the directory, if one does: it is locked then (`state.journal`)."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if path_lock.try_lock(fd):
            return ""
        return f", in use by {path_lock.holder(fd)}: a second `run` needs another"
    finally:
        os.close(fd)


def _collector(config: Config) -> None:
    """Say that the Collector takes a request; raise NotAcknowledgedError if not."""
    endpoint = config.endpoint
    if endpoint.target == NOWHERE:
        _say("Collector: none; the counts are on the status endpoint")
        return
    # gRPC is most of the memory and of the start: not for --no-endpoint.
    from sidecar.otlp_push import Pusher  # noqa: PLC0415

    with closing(Pusher(endpoint)) as pusher:
        # An empty message is an empty ExportMetricsServiceRequest, which counts nothing.
        outcome = pusher.push(b"", timeout_s=_PATIENCE_S)
    how = "TLS" if endpoint.secure else "plaintext"
    if not isinstance(outcome, Delivered):
        raise NotAcknowledgedError(
            f"reach the Collector at {endpoint.target} ({how})",
            f"{outcome.code}: {outcome.message}",
            _ANSWERS.get(outcome.code, "see the Collector's log"),
        )
    _say(f"Collector {endpoint.target} ({how}): takes requests")
