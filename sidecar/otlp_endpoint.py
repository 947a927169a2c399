# SPDX-License-Identifier: Apache-2.0
"""
Where and how to send: the flag and the standard `OTEL_EXPORTER_OTLP_*` variables.

Variables and their precedence: OpenTelemetry specification, `protocol/exporter.md`. Two choices are our
own: a bare HOST:PORT is plaintext only on loopback, and the timeout is in milliseconds, as the
specification says (the Python SDK takes seconds).
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sidecar.errors import ConfigError

DEFAULT_ENDPOINT = "localhost:4317"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_HEADER_KEY = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class Endpoint:
    """
    One OTLP/gRPC endpoint.

    Attributes:
        target: gRPC target, HOST:PORT or `unix:PATH`.
        secure: TLS if true.
        headers: Metadata of each call, keys in lower case; the values may be secrets.
        certificate: File with the trusted roots (PEM), or None for the built-in ones.
        client_key: File with the client's key (PEM), for mTLS.
        client_certificate: File with the client's certificate chain (PEM), for mTLS.
        gzip: Compress requests.
        timeout_s: Deadline of one call, seconds.

    """

    target: str
    secure: bool
    headers: tuple[tuple[str, str], ...] = ()
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    gzip: bool = False
    timeout_s: float = 10.0


def endpoint_from(flag: str | None, environ: Mapping[str, str]) -> Endpoint:
    """
    Return the endpoint that the flag and the variables describe; the flag wins.

    Raises:
        ConfigError: A value cannot be used; the message names the variable, never a header's value.

    """
    address, name = _address(flag, environ)
    target, secure = _target(address, name, _variable(environ, "INSECURE"))
    protocol = _variable(environ, "PROTOCOL")
    if protocol not in (None, "grpc"):
        raise ConfigError(f"use {_PREFIX}PROTOCOL", f"{protocol!r} is not spoken here", "set it to grpc")
    return Endpoint(
        target=target,
        secure=secure,
        headers=_headers(_variable(environ, "HEADERS")),
        certificate=_variable(environ, "CERTIFICATE"),
        client_key=_variable(environ, "CLIENT_KEY"),
        client_certificate=_variable(environ, "CLIENT_CERTIFICATE"),
        gzip=_gzip(_variable(environ, "COMPRESSION")),
        timeout_s=_timeout(_variable(environ, "TIMEOUT")),
    )


def _variable(environ: Mapping[str, str], name: str) -> str | None:
    # An empty variable counts as unset (specification, configuration/sdk-environment-variables.md).
    return environ.get(f"{_PREFIX}METRICS_{name}") or environ.get(f"{_PREFIX}{name}") or None


def _address(flag: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    if flag is not None:
        return flag, "--otel-endpoint"
    return _variable(environ, "ENDPOINT") or DEFAULT_ENDPOINT, f"{_PREFIX}ENDPOINT"


def _target(address: str, name: str, insecure: str | None) -> tuple[str, bool]:
    remedy = "write HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    if address.startswith("unix:"):
        return address, False
    scheme, separator, rest = address.partition("://")
    if separator and scheme not in ("http", "https"):
        raise ConfigError(f"use {name} {address!r}", f"unknown scheme {scheme!r}", remedy)
    try:
        parts = urlsplit(f"//{rest if separator else address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"use {name} {address!r}", str(error), remedy) from None
    if not host or not port or parts.path not in ("", "/") or parts.query or "@" in parts.netloc:
        raise ConfigError(f"use {name} {address!r}", "not a host and a port", remedy)
    if insecure is not None and insecure.lower() not in ("true", "false"):
        raise ConfigError(f"use {_PREFIX}INSECURE={insecure!r}", "not a boolean", "set it to true or false")
    if separator:
        return parts.netloc, scheme == "https"
    plaintext = insecure.lower() == "true" if insecure is not None else _is_loopback(host)
    return parts.netloc, not plaintext


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(text: str | None) -> tuple[tuple[str, str], ...]:
    headers = []
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        key, separator, value = item.partition("=")
        key, value = unquote(key).strip().lower(), unquote(value).strip()
        # What gRPC can carry; a value may be a secret and is never shown.
        if not separator or not _HEADER_KEY.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(
                f"use {_PREFIX}HEADERS", "an item is not KEY=VALUE in ASCII", "separate items by commas"
            )
        headers.append((key, value))
    return tuple(headers)


def _gzip(text: str | None) -> bool:
    if text not in (None, "none", "gzip"):
        raise ConfigError(f"use {_PREFIX}COMPRESSION", f"{text!r} is unknown", "set it to gzip or none")
    return text == "gzip"


def _timeout(text: str | None) -> float:
    if text is None:
        return Endpoint.timeout_s
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(
            f"use {_PREFIX}TIMEOUT={text!r}", "not a number of milliseconds", "set it to 10000, say"
        )
    return int(text) / 1000
