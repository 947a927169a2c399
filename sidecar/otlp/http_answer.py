# SPDX-License-Identifier: Apache-2.0
"""
What an answer over HTTP, or none, means for the request (pure but for the time in `retry_after`).

The table of codes is that of the OTLP specification, section "OTLP/HTTP Response". Only a 200 with the right
message acknowledges: a proxy, or a web page, may answer too.
"""

import errno
import time
from collections.abc import Callable
from email.utils import mktime_tz, parsedate_tz

from google.protobuf.message import DecodeError

from sidecar.otlp.explain import Explanation, explain_error, explain_http
from sidecar.otlp.outcome import Outcome, Rejected, Retry
from sidecar.otlp.response import acknowledgement, one_line

CONTENT_TYPE = "application/x-protobuf"

OK = 200
RETRYABLE = frozenset((429, 502, 503, 504))
"""Codes after which the same bytes may be sent again."""

Header = Callable[[str], "str | None"]
"""From a header's name, in any case, to its value."""

_LONGEST_TEXT = 200


def outcome(code: int, header: Header, body: bytes, request_bytes: int) -> Outcome:
    """
    Return the outcome of a request.

    Args:
        code: The status code.
        header: Returns a header of the answer.
        body: The beginning of its body.
        request_bytes: The size of the request.

    """
    kind = (header("Content-Type") or "").partition(";")[0].strip().lower()
    if code == OK:
        # An empty message is no bytes, and then some servers, Prometheus too, name no type.
        acknowledged = acknowledgement(body, request_bytes) if kind == CONTENT_TYPE or not body else None
        return acknowledged or Rejected(
            f"HTTP {code}", "the response is OK but no OTLP message", *explain_http(code)
        )
    message = _message(kind, body) or header("Location") or "no reason given"
    explanation = explain_http(code)
    if code in RETRYABLE:
        return Retry(f"HTTP {code}", message, retry_after(header("Retry-After")), *explanation)
    return Rejected(f"HTTP {code}", message, *explanation)


def no_answer(error: Exception, *, secure: bool) -> Retry:
    """Return the outcome of a request that no answer came to."""
    number = getattr(error, "errno", None)
    code = "TIMEOUT" if isinstance(error, TimeoutError) else errno.errorcode.get(number or 0, "NO ANSWER")
    # An error of TLS has the number of no errno.
    code = "TLS" if type(error).__module__ == "ssl" else code
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    explanation: Explanation = explain_error(error, secure=secure)
    return Retry(code, one_line(text) or type(error).__name__, None, *explanation)


def retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3), or None if it has none."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:10])
    date = parsedate_tz(text)
    return max(0.0, mktime_tz(date) - time.time()) if date else None


def _message(kind: str, body: bytes) -> str:
    """Return the explanation in the body: a google.rpc.Status, or text."""
    text = body.decode(errors="replace")
    if kind == CONTENT_TYPE:
        # Only this rare path needs it, and it takes memory.
        from google.rpc.status_pb2 import Status  # noqa: PLC0415

        try:
            text = Status.FromString(body).message
        except DecodeError:
            text = ""
    elif kind == "text/html":
        text = "a web page"
    return one_line(text)[:_LONGEST_TEXT]
