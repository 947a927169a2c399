# SPDX-License-Identifier: Apache-2.0
"""Detach the program from a node, remove pins and state. Usage: detach.py STATE_DIRECTORY [INTERFACE...]."""

import contextlib
import fcntl
import fnmatch
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

PINS = pathlib.Path("/sys/fs/bpf/xdp-otel")
PATIENCE_S = 60
# What the sidecar, and the Collector beside it, keep in the state directory. Anything else there belongs to
# others: the directory may be one like /var/lib.
JOURNALS = [f"{journal}{end}" for journal in ("journal", "journal.none") for end in ("", ".new", ".damaged")]
OURS = (*JOURNALS, "instance-id", "instance-id.new")
QUEUE = "queue"


def wait_for_sidecar(state: pathlib.Path) -> None:
    """Return when the sidecar that holds the state directory has ended, its last cycle done."""
    if not state.exists():
        return
    deadline = time.monotonic() + PATIENCE_S
    with opened(state) as directory:
        while not locked(directory):
            if time.monotonic() > deadline:
                sys.exit(f"cannot remove {state}: a sidecar still runs after {PATIENCE_S} s: delete its pod")
            time.sleep(0.2)


@contextlib.contextmanager
def opened(directory: pathlib.Path) -> Iterator[int]:
    """Open a directory: a sidecar locks that of its state, and those of its interfaces' pins."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def locked(lock: int) -> bool:
    """Return whether the lock could be taken."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def pins_of(interface: str) -> pathlib.Path:
    """Return the directory of the interface's pins."""
    return PINS / interface.replace("%", "%25").replace(".", "%2E")


def attached(interface: str) -> list[str]:
    """Return what a name, a pattern or `auto` stands for: of the latter two the interfaces that have pins."""
    if interface != "auto" and not any(char in interface for char in "*?["):
        return [interface]
    names = [path.name.replace("%2E", ".").replace("%25", "%") for path in PINS.glob("*") if path.is_dir()]
    # With a colon they are in another network namespace; the others are marks.
    ours = sorted(name for name in names if ":" not in name and not name.startswith("reported-"))
    return ours if interface == "auto" else fnmatch.filter(ours, interface)


def counted_by_another(interface: str) -> bool:
    """Return whether a sidecar, which can only be of another release, holds the interface's pins."""
    with opened(pins_of(interface)) as directory:
        return not locked(directory)


def remove(state: pathlib.Path, interfaces: list[str]) -> None:
    """Detach, remove pins and state, in this order: it can be tried again."""
    wait_for_sidecar(state)
    interfaces = list(dict.fromkeys(name for interface in interfaces for name in attached(interface)))
    for interface in interfaces:
        if not pins_of(interface).exists():
            print(f"{interface}: not attached")
        elif counted_by_another(interface):
            print(f"{interface}: another sidecar counts on it, so the program stays attached")
        else:
            # As a pattern, which stands for pins: that of a renamed interface may be longer than a name.
            subprocess.run(["xdp-otel", "detach", "--interface", interface.replace("#", "[#]")], check=True)
    shutil.rmtree(state / QUEUE, ignore_errors=True)
    for name in OURS:
        (state / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        state.rmdir()
    # Marks of maps of others stay as long as these: they keep a later install from counting twice.
    with contextlib.suppress(OSError):
        PINS.rmdir()
    print(f"removed {state}, detached from {' '.join(interfaces) or 'no interface'}", flush=True)


remove(pathlib.Path(sys.argv[1]), sys.argv[2:])
