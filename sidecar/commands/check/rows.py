# SPDX-License-Identifier: Apache-2.0
"""The lines of `check`: what works, and what does not with its cause."""

from collections.abc import Callable, Iterable, Sequence

from sidecar.errors import SidecarError, printable
from sidecar.observe.log_formats import LONGEST_LINE

_INDENT = " " * 8


class Rows:
    """
    Prints a line for each step, in order, and goes on after one that failed.

    Attributes:
        first_error: The error of the first step that failed, if any.

    """

    def __init__(self) -> None:
        self.first_error: SidecarError | None = None

    def step(self, label: str, check: Callable[[], Iterable[str]]) -> bool:
        """Print what *check* yields, its first line after *label*; return False if it raised SidecarError."""
        try:
            lines = list(check())
        except SidecarError as error:
            self.failed(label, error)
            return False
        self.ok(label, *lines)
        return True

    def ok(self, label: str, *lines: str) -> None:
        """Print that a step succeeded."""
        _print_all(f"ok      {label}", lines)

    def warned(self, label: str, *lines: str) -> None:
        """Print that `run` will work, but not as well as it could."""
        _print_all(f"WARNING {label}", lines)

    def failed(self, label: str, error: SidecarError) -> None:
        """Print that a step failed, and why."""
        _print(f"failed  {label}: {error.cause}: {error.remedy}")
        self.first_error = self.first_error or error


def _print_all(label: str, lines: Sequence[str]) -> None:
    first, *more = lines
    _print(f"{label}: {first}")
    for line in more:
        _print(f"{_INDENT}{line}")


def _print(line: str) -> None:
    print(printable(line, LONGEST_LINE))
