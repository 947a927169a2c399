# SPDX-License-Identifier: Apache-2.0
"""A long-running program of the stack: start, wait until ready, stop, kill, restart."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from demo.errors import DemoError
from demo.interruption import pause
from demo.patience import patient
from demo.processes import end, spawn

_POLL_S = 0.05


@dataclass
class Service:
    """A program with its log file; as a context manager it runs from enter to exit."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    """Both outputs of the program, appended to at each start."""
    ready: Callable[[], bool]
    """Returns whether the started program is ready."""
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, timeout_s: float = 120.0) -> None:
        """
        Start the program and return when it is ready.

        Raises DemoError with the end of its log if it exits, or is not ready within *timeout_s* seconds.
        After any exception the program is not running.
        """
        self.launch()
        try:
            self._wait(patient(timeout_s))
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start the program without waiting for it."""
        with self.log.open("ab") as log:
            self.process = spawn(self.command, env=self.env, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """Terminate the program and wait for it; do nothing if it is not running."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def kill(self) -> None:
        """Kill the program as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def check(self) -> None:
        """Raise DemoError with the end of the log if the program has exited on its own."""
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            raise DemoError(f"cannot run {self.name}: exit {code}: its log ends\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """Return the last *lines* lines of the log, indented."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in text)

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            self.check()
            if time.monotonic() > deadline:
                cause = f"not ready within {timeout_s:.0f} s"
                raise DemoError(f"cannot start {self.name}: {cause}: its log ends\n{self.tail()}")
            pause(_POLL_S)
        self.check()

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
