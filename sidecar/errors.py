# SPDX-License-Identifier: Apache-2.0
"""
The errors that users see, each with its exit code.

Each message is one line, `cannot <do what, to what>: <cause>: <remedy>`; about an entry of a file it begins
with `file:line: entry`. `cli.main` alone turns errors into exit codes; any other exception that reaches it is
a bug, exits with 70 and shows a traceback.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
_Other = TypeVar("_Other")


class SidecarError(Exception):
    """
    Base of all errors; never raised itself.

    Attributes:
        exit_code: Exit code of the command when this error ends it; here that of a bug.
        what: What could not be done, with "cannot".
        cause: Why.
        remedy: What to do.
        at: `file:line` or the variable where the value comes from; empty if a flag or a default has it.

    """

    exit_code = 70

    def __init__(self, what: str, cause: str, remedy: str, *, at: str = "") -> None:
        """
        Compose the message.

        Args:
            what: What could not be done, and to what, as it follows "cannot": `open map id 41`. With *at*,
                the invalid entry: `source, key 'pins'`.
            cause: Why.
            remedy: What to do.
            at: `file:line`, if the error is in a file.

        """
        what = f"{at}: {what}" if at else f"cannot {what}"
        self.at = at
        self.what, self.cause, self.remedy = map(printable, (what, cause, remedy))
        super().__init__(self.what, self.cause, self.remedy)

    def __str__(self) -> str:
        return f"{self.what}: {self.cause}: {self.remedy}"

    @property
    def each(self) -> "Sequence[SidecarError]":
        """The errors that this one stands for, each of them one line: itself."""
        return (self,)


def printable(text: str, most: int | None = 500) -> str:
    r"""
    Return *text* on one line, harmless to a terminal, and cut to *most* characters.

    Text from users, the network and the kernel may contain anything: control characters, line separators,
    marks that change the direction of text, characters without width and lone surrogates become escapes,
    `\x1b`.
    """
    shown = text if most is None else text[: most + 1]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"


def is_text(text: str) -> bool:
    """Return whether *text* can be encoded as UTF-8, so has no lone surrogate (an undecodable byte)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class ConfigError(SidecarError):
    """A flag, a variable or a configuration file is invalid; raised before anything starts."""

    exit_code = 2


class CombinedError(ConfigError):
    """Several errors that do not depend on each other, by file and line; the exit code is the first one's."""

    def __init__(self, errors: Iterable[SidecarError]) -> None:
        # One mistake may be found in several ways.
        distinct = {str(error): error for error in errors}
        self._errors = tuple(sorted(distinct.values(), key=_position))
        first = self._errors[0]
        super().__init__(first.what, first.cause, first.remedy)
        self.at, self.what = first.at, first.what
        self.exit_code = first.exit_code

    def __str__(self) -> str:
        return "; ".join(map(str, self._errors))

    @property
    def each(self) -> Sequence[SidecarError]:
        """The errors, none of which stands for several."""
        return self._errors


def _position(error: SidecarError) -> tuple[str, int]:
    file, _, line = error.at.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (error.at, 0)


class Collector:
    """Collects the errors of parts that do not depend on each other, to raise all of them together."""

    def __init__(self) -> None:
        self._errors: list[SidecarError] = []

    def __bool__(self) -> bool:
        """Whether there is an error."""
        return bool(self._errors)

    def add(self, errors: Iterable[SidecarError]) -> None:
        """Collect errors that were not raised."""
        self._errors += errors

    def take(self, value: Callable[[], _Value], otherwise: _Other) -> _Value | _Other:
        """Return what *value* returns; collect its SidecarError and return *otherwise* if it raises one."""
        try:
            return value()
        except SidecarError as error:
            self._errors += error.each
            return otherwise

    def raise_all(self) -> None:
        """Raise what was collected, if anything: the error itself if there is only one."""
        if len({str(error) for error in self._errors}) > 1:
            raise CombinedError(self._errors)
        if self._errors:
            raise self._errors[0]


def each(function: Callable[[_Item], _Value], items: Iterable[_Item]) -> list[_Value]:
    """Return what *function* returns for each item; raise the errors of all items together."""
    collector = Collector()
    values: list[_Value] = []
    for item in items:
        collector.take(lambda item=item: values.append(function(item)), None)  # type: ignore[misc]
    collector.raise_all()
    return values


@contextmanager
def placed(at: str) -> Iterator[None]:
    """Run the block; begin an error that has no origin yet with *at*, a `file:line` or a variable."""
    try:
        yield
    except SidecarError as error:
        place(error, at)
        raise


def place(error: SidecarError, at: str) -> None:
    """Begin an error that has no origin yet with *at*: `placed`, for what runs in each cycle."""
    for one in error.each:
        if at and not one.at:
            one.at, one.what = at, f"{at}: {one.what}"


class SourceError(SidecarError):
    """A map or an interface does not exist, is ambiguous, or does not have the configured shape."""

    exit_code = 3


class RightsError(SidecarError):
    """A capability or a file permission is missing."""

    exit_code = 4


class KernelError(SidecarError):
    """The kernel refused to load, attach, pin or read, or the machine lacks a resource."""

    exit_code = 5


class VerifierError(KernelError):
    """The verifier rejected the program; the message quotes the last line of its log."""


class StateError(SidecarError):
    """The state directory cannot be read or written, or another process uses it."""

    exit_code = 6


class NotAcknowledgedError(SidecarError):
    """The Collector acknowledged nothing: `run --once`, whose journal keeps the batch, or `check`."""

    exit_code = 7


class AddressError(SidecarError):
    """The status endpoint's address is in use, or not on this machine, perhaps only for now."""

    exit_code = 8


def explain(error: OSError) -> str:
    """Return an errno by name and description: `EPERM (Operation not permitted)`."""
    code = error.errno or 0
    return f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"


_KERNEL_FILES = ("/proc/", "/sys/", "/dev/")
# What fails at each limit, and the remedy.
_LIMITS = {
    errno.EMFILE: ("open a file", "raise the limit of open files: `ulimit -n`, or LimitNOFILE= in systemd"),
    errno.ENFILE: ("open a file", "the whole machine has too many open: raise fs.file-max"),
    errno.ENOMEM: ("allocate memory", "raise the memory limit"),
}


def from_os_error(what: str, error: OSError, *, rights: str, otherwise: str) -> SidecarError:
    """
    Return the error that an OSError of a system call means to users.

    Args:
        what: What failed, as it follows "cannot": `open map id 41`.
        error: The kernel's error.
        rights: The remedy if a capability or permission is missing.
        otherwise: The remedy in any other case.

    """
    if error.errno in (errno.EPERM, errno.EACCES):
        return RightsError(what, explain(error), rights)
    _, remedy = _LIMITS.get(error.errno or 0, ("", otherwise))
    return KernelError(what, explain(error), remedy)


def machine_error(error: BaseException) -> KernelError | None:
    """Return the KernelError for *error* if a lack of memory, files, space or /proc caused it, else None."""
    if isinstance(error, MemoryError):
        what, remedy = _LIMITS[errno.ENOMEM]
        return KernelError(what, "out of memory", remedy)
    if not isinstance(error, OSError):
        return None
    if error.errno in _LIMITS:
        what, remedy = _LIMITS[error.errno]
        return KernelError(what, explain(error), remedy)
    if str(error.filename).startswith(_KERNEL_FILES):
        return KernelError(f"open {error.filename}", explain(error), "mount /proc, /sys and /dev")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and not error.filename:
        return KernelError("write the output", explain(error), "make room there, or raise its limit")
    return None


@contextmanager
def translated(what: str, *, rights: str, otherwise: str) -> Iterator[None]:
    """Run the block; raise an OSError in it as the error that `from_os_error` returns."""
    try:
        yield
    except OSError as error:
        raise from_os_error(what, error, rights=rights, otherwise=otherwise) from error
