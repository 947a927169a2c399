# SPDX-License-Identifier: Apache-2.0
"""
Remember outside the state directory which maps have been reported: in bpffs, which lives as long as they do.

Without it a lost journal could not be told from a first start, and all that a map holds would be sent a
second time. A mark is an empty directory, which needs no capability, only write permission. Its name has the
birth of the series, which cannot be found again once the wall clock was stepped.
"""

import contextlib
import os
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar.pins import PIN_ROOT


def _marks(map_id: int) -> list[Path]:
    try:
        return sorted(PIN_ROOT.glob(f"reported-{map_id}-*"))
    except PermissionError:
        return []  # nor can we make any, which `mark` tells


def mark(map_id: int, birth_ns: int) -> None:
    """Remember that a map is being reported, in series born then; raise OSError if that cannot be done."""
    if not _marks(map_id):
        _sweep()
        (PIN_ROOT / f"reported-{map_id}-{birth_ns}").mkdir(mode=0o755, parents=True)


def birth_ns(map_id: int) -> int | None:
    """Return since when the series of a map count, Unix ns, or None if it was never reported."""
    marks = _marks(map_id)
    return int(marks[0].name.rpartition("-")[2]) if marks else None


def _sweep() -> None:
    """Remove the marks of maps that have ended, where maps may be looked up by id (CAP_SYS_ADMIN)."""
    for path in PIN_ROOT.glob("reported-*-*"):
        try:
            os.close(bpf.map_fd_by_id(int(path.name.split("-")[1])))
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()  # unless another sidecar was faster
        except OSError:
            return


def forget(map_id: int) -> None:
    """Remove the mark of a map that ends."""
    for path in _marks(map_id):
        path.rmdir()
