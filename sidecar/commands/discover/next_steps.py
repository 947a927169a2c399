# SPDX-License-Identifier: Apache-2.0
"""The commands that read a discovered map, ready to be pasted into a shell."""

import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar.commands.discover.model import FoundMap
from sidecar.config import DEFAULT_STATE_DIR
from sidecar.describe.resolve import resolve
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError, StateError
from sidecar.state import rehearsal
from sidecar.state.journal import journal_name

_STATUS_ADDRESS = "localhost:9464"


def best(maps: Sequence[FoundMap]) -> FoundMap | None:
    """Return the map that most probably has the counts: not a section of the program, per CPU, pinned."""
    readable = [found for found in maps if not found.refused]
    return min(readable, key=_unlikely, default=None)


def commands(found: FoundMap) -> Iterator[tuple[str, ...]]:
    """
    Yield the words of each command.

    They work without a Collector. If the map cannot be read without a configuration, the first writes one.
    """
    source = found.source
    if not _is_readable_as_it_is(found):
        file = f"{re.sub('[^A-Za-z0-9_]', '_', found.info.name) or 'map'}.yaml"
        itself = source[1] if source[0] == "--map-path" else str(found.info.id)
        yield "xdp-otel", "discover", "--write-config", itself, ">", file
        source = ("--config", file)
    yield "xdp-otel", "top", *source
    yield "xdp-otel", "dump", *source
    nowhere = ("--otel-endpoint", "none", "--status-address", _STATUS_ADDRESS)
    yield "xdp-otel", "run", *source, *nowhere, *_state_directory()


def for_shell(words: Sequence[str], width: int, indent: str) -> Iterator[str]:
    """Yield a command as lines of at most *width* columns, which a shell joins: words, and parts of words."""
    room = width - len(" \\")
    line = indent
    for word in words:
        rest, quoted = word, word if word == ">" else shlex.quote(word)
        if line.strip() and len(line) + len(quoted) > room:
            yield f"{line}\\"
            line = 2 * indent
        while len(line) + len(quoted) > room:
            # Within a word nothing may precede the next part, not even a space.
            part, rest = _cut(rest, room - len(line))
            yield f"{line}{part}\\"
            line, quoted = "", shlex.quote(rest)
        line += f"{quoted} "
    yield line.rstrip()


def _cut(word: str, width: int) -> tuple[str, str]:
    """Return the longest beginning of *word* that, quoted, has at most *width* columns, and the rest."""
    size = next((size for size in range(width, 0, -1) if len(shlex.quote(word[:size])) <= width), 1)
    return shlex.quote(word[:size]), word[size:]


def _unlikely(found: FoundMap) -> tuple[bool, bool, bool, bool, int]:
    return (
        "." in found.info.name,
        not _is_readable_as_it_is(found),
        not found.info.kind.is_per_cpu,
        not found.pins,
        found.info.id,
    )


def _is_readable_as_it_is(found: FoundMap) -> bool:
    spec = SourceSpec(MapRef("id", str(found.info.id)))
    try:
        resolve(spec, found.content.info, found.content.shape)
    except SidecarError:
        return False
    return True


def _state_directory() -> tuple[str, ...]:
    """Return the flag for a state directory, if the one that `run` would use cannot be used now."""
    present = Path(os.environ.get("XDP_OTEL_STATE_DIR") or DEFAULT_STATE_DIR)
    if _is_usable(present):
        return ()
    own = [Path.home() / ".local/state/xdp-otel", Path(tempfile.gettempdir()) / f"xdp-otel-{os.geteuid()}"]
    return "--state-dir", str(next(filter(_is_usable, own), own[-1]))


def _is_usable(directory: Path) -> bool:
    """Return whether `run` could use a state directory."""
    try:
        rehearsal.rehearse(directory, journal_name(sends=False))
    except StateError:
        return False
    return True
