# SPDX-License-Identifier: Apache-2.0
"""The sidecar as a directory that runs anywhere: the files of its image below /usr, and a launcher.

`bin/xdp-otel` and `bin/python3` are the launcher (release/launcher.sh); `bin/python3.N` is Python, `lib` has
its modules, the packages, libbpf and the C library, `share` the licences of what is Debian's.
"""

import tarfile
from pathlib import Path

from demo.processes import ROOT
from release import archive
from release.images import Image
from sidecar import __version__

_USR = "usr/"
_FOLDERS = ("usr/bin/", "usr/lib/", "usr/share/")
# The launcher takes their place.
_REPLACED = ("usr/bin/python3", "usr/bin/xdp-otel")


def build(dist: Path, image: Image) -> Path:
    """Pack xdp-otel-VERSION-linux-ARCHITECTURE.tar.gz from the sidecar's *image*; return its path."""
    top = f"xdp-otel-{__version__}-linux-{image.architecture}"
    path = dist / f"{top}.tar.gz"
    path.write_bytes(archive.compress(archive.pack(_below(top, member) for member in members(image))))
    return path


def members(image: Image) -> list[archive.Member]:
    """Return all files, by their names below the directory that holds them; all are root's."""
    files = [
        archive.Member(_renamed(entry, entry.name.removeprefix(_USR)), content)
        for entry, content in image.files
        if entry.name.startswith(_FOLDERS) and entry.name not in _REPLACED and not _leads_out(entry)
    ]
    launcher = (ROOT / "release/launcher.sh").read_bytes()
    return [
        *files,
        # Not a link to each other: that would need readlink.
        archive.file("bin/xdp-otel", launcher, executable=True),
        archive.file("bin/python3", launcher, executable=True),
        archive.file("LICENSE", (ROOT / "LICENSE").read_bytes()),
        archive.file("README.md", (ROOT / "README.md").read_bytes()),
    ]


def _leads_out(entry: tarfile.TarInfo) -> bool:
    """Return whether it is a link to a place outside, such as that of the dynamic linker."""
    return entry.issym() and entry.linkname.startswith("/")


def _below(top: str, member: archive.Member) -> archive.Member:
    return archive.Member(_renamed(member.entry, f"{top}/{member.entry.name}"), member.content)


def _renamed(entry: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    return entry.replace(name=name, deep=False)
