# SPDX-License-Identifier: Apache-2.0
"""
The errors a user can meet, each with the exit code it becomes.

Every message is one line, `what failed, on which object: cause: what to do`. `cli.main` is the one place
that turns them into exit codes; anything else that escapes is a bug and shows a traceback.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class SidecarError(Exception):
    """The root of the tree; never raised itself."""

    exit_code = 70

    def __init__(self, what: str, cause: str, remedy: str) -> None:
        super().__init__(_printable(f"{what}: {cause}: {remedy}"))
        self.what = what
        self.cause = cause
        self.remedy = remedy


def _printable(text: str) -> str:
    # What a user typed must not write a second line into the log, nor control the terminal.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


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
    return KernelError(what, explain(error), otherwise)


@contextmanager
def translated(what: str, *, rights: str, otherwise: str) -> Iterator[None]:
    """Run the block; an OSError in it becomes what `from_os_error` makes of it."""
    try:
        yield
    except OSError as error:
        raise from_os_error(what, error, rights=rights, otherwise=otherwise) from error


LARGEST_COUNT = (1 << 63) - 1
"""The most that OTLP can say of an integer (`metrics.proto`, `as_int`)."""


def too_large(field: str, count: int) -> SourceError:
    """Return the error of a field that holds more than `LARGEST_COUNT`."""
    return SourceError(
        f"encode field {field}",
        f"{count} is more than the 2^63-1 that OTLP can say, so it is no count, or was counted down",
        "name the other fields under `metrics:` in a configuration file, or make it an updowncounter",
    )
