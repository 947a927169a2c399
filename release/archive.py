# SPDX-License-Identifier: Apache-2.0
"""Read tar files, and write such as have the same bytes for the same contents."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_EXECUTABLE, _PLAIN = 0o755, 0o644


class Member(NamedTuple):
    """One entry of a tar file, and the bytes of a file."""

    entry: tarfile.TarInfo
    content: bytes = b""


def file(name: str, content: bytes, *, executable: bool = False) -> Member:
    """Return a file of root's."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), _EXECUTABLE if executable else _PLAIN
    return Member(entry, content)


def read(path: Path) -> list[Member]:
    """Return what a tar file has; a hard link becomes a file of its own."""
    members = []
    with tarfile.open(path) as archive:
        for entry in archive:
            stream = archive.extractfile(entry) if entry.isreg() or entry.islnk() else None
            content = stream.read() if stream else b""
            if entry.islnk():
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", len(content)
            members.append(Member(entry, content))
    return members


def pack(members: Iterable[Member]) -> bytes:
    """Return an uncompressed tar file: sorted, with the time of the commit and without names of owners."""
    packed = io.BytesIO()
    when = int(os.environ["SOURCE_DATE_EPOCH"])
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in sorted(members, key=lambda member: member.entry.name):
            entry.mtime, entry.uname, entry.gname, entry.pax_headers = when, "", "", {}
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def compress(content: bytes) -> bytes:
    """Return *content* as gzip, which would else store the present time."""
    return gzip.compress(content, 6, mtime=int(os.environ["SOURCE_DATE_EPOCH"]))


def write(path: Path, top: str, members: Mapping[str, Path], executables: frozenset[str]) -> None:
    """Write the files *members*, by their names below the directory *top*, all owned by root."""
    files = (
        file(f"{top}/{name}", source.read_bytes(), executable=name in executables)
        for name, source in members.items()
    )
    path.write_bytes(compress(pack(files)))
