# SPDX-License-Identifier: Apache-2.0
"""Whether the Collector can be reached, proves who it is, knows who we are, and accepts requests."""

from contextlib import closing

from sidecar.commands.check.rows import Rows
from sidecar.errors import NotAcknowledgedError, SidecarError
from sidecar.exporter import dialer
from sidecar.otlp.endpoint import NOWHERE, Endpoint
from sidecar.otlp.outcome import Delivered, Outcome

_TIMEOUT_S = 5.0


def check_collector(endpoint: Endpoint, rows: Rows) -> None:
    """Send an empty request and print how far it got."""
    if endpoint.target == NOWHERE:
        rows.ok("Collector", "none; the status endpoint serves the counts")
        return
    label = f"Collector {endpoint.target}{endpoint.path} ({'TLS' if endpoint.secure else 'plaintext'})"
    try:
        outcome = _send_nothing(endpoint)
    except SidecarError as error:  # a certificate file
        rows.failed(label, error)
        return
    if isinstance(outcome, Delivered):
        for line in _handshakes(endpoint):
            rows.ok(label, line)
        rows.ok(label, "accepts requests")
        return
    # Over HTTP the outcome says what failed in the handshake.
    failure = _of_handshake(endpoint, label, rows) if endpoint.secure and not endpoint.path else None
    rows.failed(
        label, failure or _cannot_reach(endpoint, outcome.reason, f"{outcome.remedy}; --no-endpoint skips it")
    )


def _send_nothing(endpoint: Endpoint) -> Outcome:
    with closing(dialer(endpoint)()) as pusher:
        # No bytes are an ExportMetricsServiceRequest without metrics.
        return pusher.push(b"", timeout_s=_TIMEOUT_S)


def _handshakes(endpoint: Endpoint) -> list[str]:
    """Return what TLS has proved once a request was accepted."""
    if not endpoint.secure:
        return []
    server = f"its certificate is verified by {endpoint.certificate or 'the built-in roots'}"
    client = (
        [f"our certificate {endpoint.client_certificate} is accepted"] if endpoint.client_certificate else []
    )
    return [server, *client]


def _of_handshake(endpoint: Endpoint, label: str, rows: Rows) -> NotAcknowledgedError | None:
    """Return the error of the handshake that failed; None if none did, or it cannot be found out."""
    from sidecar.commands.check import handshake  # noqa: PLC0415  # memory that only a failure needs

    found = handshake.attempt(endpoint, _TIMEOUT_S)
    if found.server_verified and found.cause:
        rows.ok(label, _handshakes(endpoint)[0])
    return _cannot_reach(endpoint, found.cause, found.remedy) if found.cause else None


def _cannot_reach(endpoint: Endpoint, cause: str, remedy: str) -> NotAcknowledgedError:
    transport = "TLS" if endpoint.secure else "plaintext"
    return NotAcknowledgedError(f"reach the Collector at {endpoint.target} ({transport})", cause, remedy)
