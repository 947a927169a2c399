# SPDX-License-Identifier: Apache-2.0
"""One call at a time: how long it may take, and how a signal handler ends it. Both exporters use it."""

from collections.abc import Callable

from sidecar.otlp.outcome import LAST_TIMEOUT_S, Outcome, Retry


class _Interrupted(BaseException):
    """Ends the call under way; no `except Exception` on its way takes it for an error."""


class OneCall:
    """The calls to one endpoint, each in the thread that makes it."""

    def __init__(self, timeout_s: float) -> None:
        """*timeout_s* is the endpoint's deadline, in seconds."""
        self._timeout_s = timeout_s
        self._under_way = False
        self._interrupted = False

    def make(self, call: Callable[[float], Outcome], timeout_s: float | None = None) -> Outcome:
        """
        Return the outcome of *call*, or Retry if it was interrupted.

        *call* is given how long it may take, in seconds; *timeout_s* shortens that.
        """
        limits = (self._timeout_s, timeout_s, LAST_TIMEOUT_S if self._interrupted else None)
        try:
            self._under_way = True
            try:
                return call(min(limit for limit in limits if limit is not None))
            finally:
                # A signal that comes right before this still raises; the outer handler takes it.
                self._under_way = False
        except _Interrupted:
            return Retry("CANCELLED", "interrupted here")

    def interrupt(self) -> None:
        """
        End the call under way, if any, with the outcome Retry; from now on calls are short.

        A signal handler of the thread that calls may call this: it raises there.
        """
        self._interrupted = True
        if self._under_way:
            self._under_way = False
            raise _Interrupted
