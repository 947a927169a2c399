# SPDX-License-Identifier: Apache-2.0
"""
Remember outside the state directory which maps have been reported: in bpffs, which lives as long as they do.

Without it, plain delta could not tell a lost journal from a first start, and would send all that a map holds
a second time. A mark is an empty directory, which needs no capability, only write permission.
"""

from pathlib import Path

from sidecar.pins import PIN_ROOT


def _path(map_id: int) -> Path:
    return PIN_ROOT / f"reported-{map_id}"


def mark(map_id: int) -> None:
    """Remember that a map is being reported; raise OSError if that cannot be done."""
    _path(map_id).mkdir(mode=0o755, parents=True, exist_ok=True)


def is_marked(map_id: int) -> bool:
    """Return whether a map of this boot has been reported before."""
    return _path(map_id).is_dir()


def forget(map_id: int) -> None:
    """Remove the mark of a map that ends."""
    if is_marked(map_id):
        _path(map_id).rmdir()
