# SPDX-License-Identifier: Apache-2.0
"""What `run` will find in its state directory, found out without changing anything in it."""

import errno
import os
from pathlib import Path

from sidecar.errors import StateError, explain
from sidecar.kernel import path_lock, trusted
from sidecar.state import journal_format
from sidecar.state.journal import LARGEST_BYTES

_REMEDY = "make it a writable directory, or name another with --state-dir"


def rehearse(directory: Path, name: str) -> str:
    """
    Return the state of a state directory, and of the journal *name* in it, in a few words.

    Raises:
        StateError: It cannot be created, written or locked, or its journal cannot be read.

    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    _require_writable(directory, existing)
    if existing != directory:
        return "writable (`run` creates it)"
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(f"open state directory {directory}", explain(error), _REMEDY) from None
    try:
        if not path_lock.try_lock(fd):
            raise StateError(
                f"lock state directory {directory}",
                f"in use by {path_lock.holder(fd)}",
                "if that is the sidecar you are checking, it is running; else name another with --state-dir",
            )
        return f"writable, not in use, {_journal(directory, name, fd)}"
    finally:
        os.close(fd)


def _require_writable(directory: Path, existing: Path) -> None:
    what = f"write into state directory {directory}"
    # `run` creates missing directories.
    if not existing.is_dir():
        raise StateError(what, f"{existing} is not a directory", _REMEDY)
    try:
        # A file without a name leaves nothing behind even if we are killed. Not all file systems have it.
        os.close(os.open(existing, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or not os.access(existing, os.W_OK | os.X_OK):
            raise StateError(what, explain(error), _REMEDY) from None


def _journal(directory: Path, name: str, fd: int) -> str:
    try:
        journal_format.decode(trusted.read_file(name, fd, LARGEST_BYTES))
    except FileNotFoundError:
        return "no journal yet"
    except ValueError as error:  # untrusted or damaged
        return f"journal damaged ({error}): `run` keeps it as {name}.damaged and starts without it"
    except OSError as error:
        what = f"read journal {directory / name}"
        raise StateError(what, explain(error), "make it readable to the user of `run`") from None
    return "journal readable"
