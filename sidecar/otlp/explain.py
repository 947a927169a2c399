# SPDX-License-Identifier: Apache-2.0
"""What the failure of a call means, and what to do: the one table of both (pure)."""

import re
import socket
from typing import NamedTuple


class Explanation(NamedTuple):
    """
    Why a call failed.

    Attributes:
        cause: In a few words; empty if the Collector's own message is all that is known.
        remedy: What to do.

    """

    cause: str
    remedy: str


_ADDRESS = "start the Collector, or correct the address (--otel-endpoint)"
_DNS = "correct the name (--otel-endpoint), or this machine's DNS"
_ROUTE = "check the address, the route to it, and that no firewall drops the packets"
_CA = "set OTEL_EXPORTER_OTLP_CERTIFICATE to the CA that signed it"
_CREDENTIALS = "set its credentials in OTEL_EXPORTER_OTLP_HEADERS"
_GRPC_PORT = "name its OTLP/gRPC port, usually 4317; 4318 is OTLP/HTTP"
_HTTP_URL = "name its OTLP/HTTP address: usually port 4318, and /v1/metrics is added"
_LOG = "see the Collector's log"

# How the messages begin that gRPC itself writes when it has no connection: a Collector may quote the words
# below about its own backend.
_NOT_CONNECTED = re.compile(r"failed to connect to all addresses|errors resolving |DNS resolution failed")
_PREAMBLE = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: ")
# Words of gRPC, c-ares, BoringSSL and the C library; the first that is found decides.
_NO_CONNECTION = {
    "Connection refused": Explanation("connection refused: nothing listens there", _ADDRESS),
    "Domain name not found": Explanation("unknown host name", _DNS),
    "Name or service not known": Explanation("unknown host name", _DNS),
    "no data": Explanation("the host name has no address", _DNS),
    "resol": Explanation("the host name cannot be resolved", _DNS),
    "certificate has expired": Explanation("the Collector's certificate has expired", "renew it"),
    "unable to get local issuer": Explanation("its certificate is not signed by a CA that we trust", _CA),
    "self signed": Explanation("its certificate is not signed by a CA that we trust", _CA),
    "Hostname Verification": Explanation(
        "the Collector's certificate is for another host name",
        "use a name that is in its certificate (subjectAltName)",
    ),
    "Unwrap failed": Explanation(
        "the Collector may require a client certificate, or one of another CA",
        "set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ),
    "WRONG_VERSION_NUMBER": Explanation("the Collector speaks plaintext here", "use http://"),
    "Handshake read failed": Explanation(
        "the TLS handshake was not answered", f"{_LOG}; if it speaks plaintext there, use http://"
    ),
    "http1.x": Explanation("no gRPC server listens there", _GRPC_PORT),
    "No such file": Explanation("there is no such socket", _ADDRESS),
    "No route": Explanation("no route to that address", _ROUTE),
    "unreachable": Explanation("no route to that address", _ROUTE),
    "timed out": Explanation("the connection timed out", _ROUTE),
    "handshaker shutdown": Explanation("the connection timed out", _ROUTE),
}
_WANTS_TLS = "the endpoint may want https://"
# Words of OpenSSL, with which OTLP/HTTP connects, that differ from BoringSSL's.
_TLS_WORDS = {
    "Hostname mismatch": _NO_CONNECTION["Hostname Verification"],
    "is not valid for": _NO_CONNECTION["Hostname Verification"],
    "self-signed": _NO_CONNECTION["self signed"],
    "alert": Explanation(
        "the Collector refuses our certificate, or requires one",
        "set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ),
}
# What a plaintext client gets from a TLS server: the end of the connection, or silence.
_NO_CONNECTION_IN_PLAINTEXT = {
    "Socket closed": Explanation("it accepts connections and closes them at once", _WANTS_TLS),
    "Connection reset": Explanation("it accepts connections and resets them at once", _WANTS_TLS),
    "receiving SETTINGS": Explanation(
        "it accepts connections but does not answer", f"{_WANTS_TLS}, or it hangs"
    ),
}
# By the code of an answer over HTTP.
_HTTP = {
    200: Explanation("something else than an OTLP receiver answers there", _HTTP_URL),
    401: Explanation("", _CREDENTIALS),
    403: Explanation("", _CREDENTIALS),
    404: Explanation("no OTLP metrics are accepted there", _HTTP_URL),
    405: Explanation("no OTLP metrics are accepted there", _HTTP_URL),
    413: Explanation("the request is too large", f"{_LOG}; smaller ones follow"),
    415: Explanation("no OTLP metrics are accepted there", _HTTP_URL),
    429: Explanation("it is overloaded, or limits this client", _LOG),
}
_REDIRECTS = range(300, 400)
_CODES = {
    "DEADLINE_EXCEEDED": Explanation(
        "timed out: no answer before the deadline",
        f"{_LOG}: it may be overloaded; the deadline is OTEL_EXPORTER_OTLP_TIMEOUT",
    ),
    "UNAUTHENTICATED": Explanation("", _CREDENTIALS),
    "PERMISSION_DENIED": Explanation("", _CREDENTIALS),
    "UNIMPLEMENTED": Explanation(
        "no OTLP metrics are accepted there", f"{_GRPC_PORT}; does it have a metrics pipeline?"
    ),
}


def explain(code: str, details: str, *, secure: bool) -> Explanation:
    """
    Return why a call failed and what to do.

    Args:
        code: The name of its status code.
        details: The message that came with it, gRPC's or the Collector's.
        secure: Whether it was made by TLS.

    """
    if code != "UNAVAILABLE" or not _NOT_CONNECTED.match(details):
        return _CODES.get(code, Explanation("", _LOG))
    known = _NO_CONNECTION if secure else {**_NO_CONNECTION_IN_PLAINTEXT, **_NO_CONNECTION}
    return next((known[words] for words in known if words in details), Explanation("no connection", _ADDRESS))


def explain_http(code: int) -> Explanation:
    """Return why a request over HTTP failed and what to do, by the code of its answer."""
    if code in _REDIRECTS:
        return Explanation("it redirects, which is not followed", "name the address that it redirects to")
    return _HTTP.get(code, Explanation("", _LOG))


def explain_error(error: Exception, *, secure: bool) -> Explanation:
    """Return why there was no answer over HTTP and what to do, by the error of the connection."""
    if isinstance(error, TimeoutError):
        return _CODES["DEADLINE_EXCEEDED"]
    if isinstance(error, socket.gaierror):
        return _NO_CONNECTION["Domain name not found"]
    words = " ".join((getattr(error, "verify_message", ""), str(getattr(error, "reason", "")), str(error)))
    for known, explanation in {**_NO_CONNECTION, **_TLS_WORDS}.items():
        if known.lower() in words.lower():
            return explanation
    if isinstance(error, ConnectionError) and not secure:
        return Explanation("it closes the connection without an answer", _WANTS_TLS)
    return Explanation("no answer", _ADDRESS)


def shortened(details: str) -> str:
    """Return gRPC's message without the words that all of its failures to connect begin with."""
    return _PREAMBLE.sub("", details)
