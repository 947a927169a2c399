# SPDX-License-Identifier: Apache-2.0
"""Write a .tar.gz that has the same bytes for the same contents."""

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

_EXECUTABLE, _PLAIN = 0o755, 0o644


def write(path: Path, top: str, members: Mapping[str, Path], executables: frozenset[str]) -> None:
    """Write the files *members*, by their names below the directory *top*, all owned by root."""
    when = int(os.environ["SOURCE_DATE_EPOCH"])
    # gzip would store the present time, and tarfile the owners of the files.
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=when) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, source in sorted(members.items()):
            content = source.read_bytes()
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime = len(content), when
            entry.mode = _EXECUTABLE if name in executables else _PLAIN
            archive.addfile(entry, io.BytesIO(content))
