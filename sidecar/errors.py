# SPDX-License-Identifier: Apache-2.0
"""
The errors a user can meet, each with the exit code it becomes.

Every message is one line, `cannot do what, to which object: cause: what to do`; about a line of a file it begins
with `file:line`. `cli.main` is the one place
that turns them into exit codes; anything else that escapes is a bug and shows a traceback.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class SidecarError(Exception):
    """The root of the tree; never raised itself."""

    exit_code = 70

    def __init__(self, what: str, cause: str, remedy: str, *, at: str = "") -> None:
        """
        Put the message together.

        Args:
            what: What could not be done, and to what, as it follows "cannot": `open map id 41`. With *at*, the
                entry there that is wrong: `source, key 'pins'`.
            cause: Why.
            remedy: What to do.
            at: `file:line`, if it is about a line of a file.

        """
        what = f"{at}: {what}" if at else f"cannot {what}"
        self.what, self.cause, self.remedy = map(printable, (what, cause, remedy))
        super().__init__(f"{self.what}: {self.cause}: {self.remedy}")


def printable(text: str, most: int | None = 500) -> str:
    r"""
    Return *text* so that it writes no second line and controls no terminal, and cut to *most* characters.

    Whoever typed it, sent it or named something so: controls, line separators, what changes the direction of
    text, what has no width, and lone surrogates become escapes, `\x1b`.
    """
    shown = text if most is None else text[: most + 1]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"


def is_text(text: str) -> bool:
    """Return whether *text* is Unicode, and not bytes that are no UTF-8, nor half of a pair, made a `str`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class ConfigError(SidecarError):
    """A flag or a variable cannot be used; raised before anything starts."""

    exit_code = 2


class SourceError(SidecarError):
    """A map or an interface is not there, is ambiguous, or has another shape than the one asked for."""

    exit_code = 3


class RightsError(SidecarError):
    """The kernel or a file refused for want of a capability or a permission."""

    exit_code = 4


class KernelError(SidecarError):
    """The kernel refused to load, attach, pin or read."""

    exit_code = 5


class VerifierError(KernelError):
    """The verifier refused the program; the message has its last word."""


class StateError(SidecarError):
    """The state directory cannot be written, is damaged, or belongs to a running sidecar."""

    exit_code = 6


class NotAcknowledgedError(SidecarError):
    """`--once` ended without an acknowledgement; the batch stays in the journal."""

    exit_code = 7


def explain(error: OSError) -> str:
    """Return an errno as people look it up: `EPERM (Operation not permitted)`."""
    code = error.errno or 0
    return f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"


_OF_THE_KERNEL = ("/proc/", "/sys/", "/dev/")
_LIMITS = {
    errno.EMFILE: ("open a file", "raise the limit of open files: `ulimit -n`, or LimitNOFILE= in systemd"),
    errno.ENFILE: ("open a file", "the whole machine has too many open: raise fs.file-max"),
    errno.ENOMEM: ("get memory", "raise its limit"),
}


def from_os_error(what: str, error: OSError, *, rights: str, otherwise: str) -> SidecarError:
    """
    Translate an OSError of a bpf(2) call.

    Args:
        what: The step and its object, `open map id 41`.
        error: What the kernel answered.
        rights: The remedy when a right is missing.
        otherwise: The remedy in any other case.

    """
    if error.errno in (errno.EPERM, errno.EACCES):
        return RightsError(what, explain(error), rights)
    _, remedy = _LIMITS.get(error.errno or 0, ("", otherwise))
    return KernelError(what, explain(error), remedy)


def of_the_machine(error: BaseException) -> KernelError | None:
    """Return what is wrong with the machine if that is why *error* was raised, wherever it was; else None."""
    if isinstance(error, MemoryError):
        return KernelError("get memory", "there is none left", _LIMITS[errno.ENOMEM][1])
    if not isinstance(error, OSError):
        return None
    if error.errno in _LIMITS:
        what, remedy = _LIMITS[error.errno]
        return KernelError(what, explain(error), remedy)
    if str(error.filename).startswith(_OF_THE_KERNEL):
        return KernelError(f"open {error.filename}", explain(error), "mount /proc, /sys and /dev")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and not error.filename:
        return KernelError("write the output", explain(error), "make room there, or raise its limit")
    return None


@contextmanager
def translated(what: str, *, rights: str, otherwise: str) -> Iterator[None]:
    """Run the block; an OSError in it becomes what `from_os_error` makes of it."""
    try:
        yield
    except OSError as error:
        raise from_os_error(what, error, rights=rights, otherwise=otherwise) from error
