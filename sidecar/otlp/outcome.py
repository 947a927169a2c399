# SPDX-License-Identifier: Apache-2.0
"""
What a call to the Collector can come to, and who makes it. Needs no gRPC.

A code is the name of a gRPC status code; by OTLP/HTTP it is `HTTP 503`, or of an error of the connection the
name of its errno.
"""

from dataclasses import dataclass, field
from typing import Protocol

LAST_TIMEOUT_S = 2.0
"""SIGTERM to exit takes at most two calls of this length, plus reading and writing: under 5 s."""

_SEE_LOG = "see the Collector's log"


@dataclass(frozen=True)
class Delivered:
    """
    The Collector accepted the request.

    Attributes:
        rejected: How many of its points it refused (partial success).
        message: Its explanation or warning.

    """

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True)
class Retry:
    """
    The same bytes may be sent again.

    Attributes:
        code: See the module.
        message: The Collector's or gRPC's explanation.
        after_s: When, if the Collector gave a delay (RetryInfo), seconds.
        cause: What code and message mean, if it is known (`explain`).
        remedy: What to do.

    """

    code: str
    message: str
    after_s: float | None = None
    cause: str = field(default="", compare=False)
    remedy: str = field(default=_SEE_LOG, compare=False)

    @property
    def reason(self) -> str:
        """Why the request was not accepted, for an error message."""
        return _reason(self.code, self.message, self.cause)


@dataclass(frozen=True)
class Rejected:
    """
    The specification forbids sending the same bytes again; whether they were counted is unknown.

    Attributes:
        code: See the module.
        message: The Collector's or gRPC's explanation.
        cause: What code and message mean, if it is known (`explain`).
        remedy: What to do.

    """

    code: str
    message: str
    cause: str = field(default="", compare=False)
    remedy: str = field(default=_SEE_LOG, compare=False)

    @property
    def reason(self) -> str:
        """Why the request was not accepted, for an error message."""
        return _reason(self.code, self.message, self.cause)

    @property
    def too_large(self) -> bool:
        """Whether a smaller request may be accepted."""
        return self.code in ("RESOURCE_EXHAUSTED", "HTTP 413")


def _reason(code: str, message: str, cause: str) -> str:
    return f"{cause} ({code}: {message})" if cause else f"{code}: {message}"


Outcome = Delivered | Retry | Rejected


class Exporter(Protocol):
    """Sends requests, one at a time: `otlp_push.Pusher` by gRPC, `otlp_http.HttpPusher` by HTTP."""

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        """Send one serialized ExportMetricsServiceRequest and wait for the response."""

    def interrupt(self) -> None:
        """End the call under way; from now on calls are short."""

    def close(self) -> None:
        """Release the connection."""


class Nowhere:
    """Accepts every request and sends nothing: counts are scraped from the status endpoint."""

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:  # noqa: ARG002
        """Return that it was delivered."""
        return Delivered()

    def interrupt(self) -> None:
        """Do nothing: no call takes time."""

    def close(self) -> None:
        """Do nothing."""
