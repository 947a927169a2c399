# SPDX-License-Identifier: Apache-2.0
"""
A TLS handshake of our own, after one of gRPC's failed, as gRPC hardly says which side refused which.

In TLS 1.3 the server refuses the client's certificate after the client has finished its part, so the
connection is also read from.
"""

import socket
import ssl
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.otlp.certificates import built_in_roots
from sidecar.otlp.endpoint import Endpoint

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # and empty SETTINGS
_PREFIX = "OTEL_EXPORTER_OTLP"


@dataclass(frozen=True)
class Handshake:
    """
    How a handshake ended.

    Attributes:
        server_verified: Whether the server's certificate was verified.
        cause: What failed; empty if nothing did, or it could not be tried.
        remedy: What to do about it.

    """

    server_verified: bool = False
    cause: str = ""
    remedy: str = ""


def attempt(endpoint: Endpoint, timeout_s: float) -> Handshake:
    """Connect, shake hands and wait for the first byte; each step takes at most *timeout_s*."""
    address = urlsplit(f"//{endpoint.target}")
    if endpoint.target.startswith("unix:") or not address.hostname:
        return Handshake()
    try:
        port = address.port or 443
        connection = socket.create_connection((address.hostname, port), timeout_s)
    except (OSError, ValueError):
        return Handshake()  # gRPC's own message says so, and it may have gone through a proxy
    with closing(connection):
        try:
            encrypted = _context(endpoint).wrap_socket(connection, server_hostname=address.hostname)
        except ssl.SSLCertVerificationError as error:
            cause = f"its certificate is not verified: {error.verify_message}"
            return Handshake(cause=cause, remedy=_server(endpoint))
        except ssl.SSLError as error:
            return _refused(error, endpoint, server_verified=False)
        except OSError:
            return Handshake()
    with encrypted:
        return _answer(encrypted, endpoint)


def _answer(encrypted: ssl.SSLSocket, endpoint: Endpoint) -> Handshake:
    """Send the beginning of HTTP/2 and wait for an answer, which may be that the certificate is refused."""
    try:
        with suppress(ssl.SSLEOFError, ConnectionError):
            encrypted.sendall(_PREFACE)  # if it has closed already, its alert may still be read
        if not encrypted.recv(1):
            return _closed(endpoint)
    except TimeoutError:
        pass  # so it was not refused
    except (ssl.SSLEOFError, ConnectionError):
        return _closed(endpoint)  # by a reset, which may overtake the alert
    except ssl.SSLError as error:
        return _refused(error, endpoint, server_verified=True)
    return Handshake(server_verified=True)


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(endpoint.certificate or built_in_roots())
    context.set_alpn_protocols(["h2"])
    if endpoint.client_certificate:
        context.load_cert_chain(endpoint.client_certificate, endpoint.client_key)
    return context


def _server(endpoint: Endpoint) -> str:
    ca = endpoint.certificate or "the built-in roots"
    return f"name its CA in {_PREFIX}_CERTIFICATE (now: {ca}), and the Collector as its certificate does"


def _closed(endpoint: Endpoint) -> Handshake:
    return _refused_ours(endpoint, "it closes the connection after the handshake", server_verified=True)


def _refused(error: ssl.SSLError, endpoint: Endpoint, *, server_verified: bool) -> Handshake:
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "alert" not in reason:
        return Handshake(server_verified, f"the handshake failed: {reason}", "does it expect http:// there?")
    return _refused_ours(endpoint, reason, server_verified=server_verified)


def _refused_ours(endpoint: Endpoint, reason: str, *, server_verified: bool) -> Handshake:
    if endpoint.client_certificate:
        return Handshake(
            server_verified,
            f"it refuses our certificate {endpoint.client_certificate}: {reason}",
            "have it signed by a CA that the Collector trusts (its client_ca_file)",
        )
    return Handshake(
        server_verified,
        f"it may require a certificate of ours: {reason}",
        f"set {_PREFIX}_CLIENT_CERTIFICATE and {_PREFIX}_CLIENT_KEY",
    )
