# SPDX-License-Identifier: Apache-2.0
"""The sizes of a sidecar and its journal, sampled ten times a second."""

import threading
import time
from pathlib import Path

from demo.service import Service

_EVERY_S = 0.1


class Watch:
    """
    Samples a sidecar, across restarts, until closed.

    Attributes:
        journal_bytes: The largest size of the journal or the temporary journal.
        rss_kib: The largest resident size over all runs.
        sizes: The samples: monotonic seconds, bytes of the journal, resident KiB.

    """

    def __init__(self, sidecar: Service, state: Path) -> None:
        """Start to sample."""
        self.journal_bytes = 0
        self.rss_kib = 0
        self.sizes: list[tuple[float, int, int]] = []
        self._sidecar = sidecar
        self._state = state
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(_EVERY_S):
            journal = max(_size(self._state / "journal"), _size(self._state / "journal.new"))
            self.journal_bytes = max(self.journal_bytes, journal)
            process = self._sidecar.process
            now, peak = (0, 0) if process is None else resident_kib(process.pid)
            self.rss_kib = max(self.rss_kib, peak)
            if now:
                self.sizes.append((time.monotonic(), journal, now))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def resident_kib(pid: int) -> tuple[int, int]:
    """Return the current and peak resident size of a process, KiB; zeros once it has exited."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if name in ("VmRSS", "VmHWM")
    }
    return sizes.get("VmRSS", 0), sizes.get("VmHWM", 0)
