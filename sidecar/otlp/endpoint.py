# SPDX-License-Identifier: Apache-2.0
"""
Where and how to send: the `--otel-*` flags and the standard `OTEL_EXPORTER_OTLP_*` variables.

Variables and their precedence follow the OpenTelemetry specification, `protocol/exporter.md`. Deliberate
differences from the Python SDK: a bare HOST:PORT is plaintext only on loopback, a scheme always decides,
`unix:` is plaintext, the timeout is in milliseconds as specified, and what the SDK would ignore (a path in
the address of gRPC, half of a key pair, a header that cannot be carried) is refused.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from sidecar.errors import ConfigError
from sidecar.otlp.variables import switched_off_by

GRPC, HTTP = "grpc", "http/protobuf"
DEFAULT_ENDPOINTS = {GRPC: "localhost:4317", HTTP: "http://localhost:4318"}
# No Collector: counts are scraped from the status endpoint.
NOWHERE = "none"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_NOT_IN_ADDRESS = re.compile(r"[?#\s]")
_HEADER_KEY = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
# They describe the request, which is ours to describe.
_HTTP_OWN_HEADERS = {"content-encoding", "content-length", "content-type", "host", "transfer-encoding"}
_HTTP_PATH = "v1/metrics"
_HTTP_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """
    One endpoint of OTLP/gRPC or OTLP/HTTP.

    Attributes:
        target: HOST:PORT; by gRPC also `unix:PATH`; or `NOWHERE`.
        secure: TLS if true.
        headers: Metadata or headers of each call, keys in lower case; the values may be secrets.
        certificate: File with the trusted roots (PEM), or None for the built-in ones.
        client_key: File with the client's key (PEM), for mTLS.
        client_certificate: File with the client's certificate chain (PEM), for mTLS.
        gzip: Compress requests.
        timeout_s: Deadline of one call, seconds.
        path: Where OTLP/HTTP posts to, `/v1/metrics`; empty: OTLP/gRPC.
        file_settings: The flag or variable of each of the three files, for messages.

    """

    target: str
    secure: bool
    headers: tuple[tuple[str, str], ...] = ()
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    gzip: bool = False
    timeout_s: float = 10.0
    path: str = ""
    file_settings: tuple[str, str, str] = field(
        default=(f"{_PREFIX}CERTIFICATE", f"{_PREFIX}CLIENT_KEY", f"{_PREFIX}CLIENT_CERTIFICATE"),
        compare=False,
    )

    @property
    def may_be_proxied(self) -> bool:
        """
        Whether the proxies in `https_proxy` and `http_proxy`, for gRPC also `grpc_proxy`, may be used.

        A proxy cannot reach our loopback, and without TLS it could read the tokens in the headers.
        """
        host = urlsplit(f"//{self.target}").hostname or ""
        return not _is_loopback(host) and (self.secure or not self.headers)

    @property
    def files(self) -> tuple[str, ...]:
        """The certificate files in use, which are reloaded when they change."""
        files = (self.certificate, self.client_key, self.client_certificate)
        return tuple(file for file in files if file) if self.secure else ()


def endpoint_from(settings: Mapping[str, str]) -> Endpoint:
    """
    Return the endpoint that flags and variables describe, each under its own name; a flag wins.

    Raises:
        ConfigError: A value cannot be used; the message names the flag or the variable that has it, never a
            header's value.

    """
    address, name = setting(settings, "ENDPOINT")
    if nowhere_by(settings):
        return Endpoint(NOWHERE, secure=False)
    protocol = _protocol(*setting(settings, "PROTOCOL"))
    parse = _target if protocol == GRPC else _url
    where = parse(address or DEFAULT_ENDPOINTS[protocol], name, *setting(settings, "INSECURE"))
    certificate, certificate_name = setting(settings, "CERTIFICATE")
    client_key, key_name = setting(settings, "CLIENT_KEY")
    client_certificate, client_certificate_name = setting(settings, "CLIENT_CERTIFICATE")
    for file, file_name, other in (
        (client_key, key_name, "CLIENT_CERTIFICATE"),
        (client_certificate, client_certificate_name, "CLIENT_KEY"),
    ):
        if file and not (client_key and client_certificate):
            what = f"use {file_name}={file} for mTLS"
            absent = flag_name(other) if file_name.startswith("--") else f"{_PREFIX}{other}"
            raise ConfigError(what, "it is only half of a pair", f"set {absent} too")
    return Endpoint(
        target=where.target,
        secure=where.secure,
        path=where.path,
        headers=_headers(*setting(settings, "HEADERS"), protocol),
        certificate=certificate,
        client_key=client_key,
        client_certificate=client_certificate,
        gzip=_gzip(*setting(settings, "COMPRESSION")),
        timeout_s=_timeout(*setting(settings, "TIMEOUT")),
        file_settings=(certificate_name, key_name, client_certificate_name),
    )


def nowhere_by(settings: Mapping[str, str]) -> str | None:
    """Return the flag or variable, with its value, by which nothing is sent; None if something is."""
    address, name = setting(settings, "ENDPOINT")
    if address == NOWHERE:
        return f"{name} {NOWHERE}" if name.startswith("--") else f"{name}={NOWHERE}"
    return None if name.startswith("--") else switched_off_by(settings)


def flag_name(name: str) -> str:
    """Return the flag for an OTEL_EXPORTER_OTLP_METRICS_* variable, given without that prefix."""
    return f"--otel-{name.lower().replace('_', '-')}"


def setting(settings: Mapping[str, str], name: str) -> tuple[str | None, str]:
    """Return a value, or None, and where it comes from: the flag wins, then the signal's own variable."""
    flag, specific, general = flag_name(name), f"{_PREFIX}METRICS_{name}", f"{_PREFIX}{name}"
    if flag in settings:
        return settings[flag] or None, flag
    # An empty variable counts as unset (specification, configuration/sdk-environment-variables.md).
    if settings.get(specific):
        return settings[specific], specific
    return settings.get(general) or None, general


class _Where(NamedTuple):
    target: str
    secure: bool
    path: str = ""


def _target(address: str, name: str, insecure: str | None, insecure_name: str) -> _Where:
    """Return where gRPC connects to."""
    if address.startswith("unix:"):
        return _Where(address, secure=False)
    remedy = "write HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    scheme, parts = _split(address, name, remedy)
    if not parts.hostname or not parts.port or parts.path not in ("", "/"):
        raise ConfigError(f"use {name} {address!r}", "not a host and a port", remedy)
    return _Where(parts.netloc, _is_secure(scheme, parts.hostname, insecure, insecure_name))


def _url(address: str, name: str, insecure: str | None, insecure_name: str) -> _Where:
    """
    Return where OTLP/HTTP posts to.

    The signal's own variable names the whole URL; to any other address `/v1/metrics` is added
    (specification, `protocol/exporter.md`, "Endpoint URLs for OTLP/HTTP").
    """
    remedy = "write http://HOST:PORT or https://HOST, with a path if it has one"
    scheme, parts = _split(address, name, remedy)
    port = parts.port or _HTTP_PORTS.get(scheme)
    if address.startswith("unix:") or not parts.hostname or not port:
        raise ConfigError(f"use {name} {address!r}", "not a URL, nor a host and a port", remedy)
    own = name == f"{_PREFIX}METRICS_ENDPOINT"
    path = parts.path or "/" if own else f"{parts.path.rstrip('/')}/{_HTTP_PATH}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return _Where(f"{host}:{port}", _is_secure(scheme, parts.hostname, insecure, insecure_name), path)


def _split(address: str, name: str, remedy: str) -> tuple[str, SplitResult]:
    """Return scheme, in lower case and empty if there is none, and the parts of an address."""
    if "@" in address:
        # It may contain a password, so it is not shown.
        raise ConfigError(
            f"use {name}",
            "it contains a user name",
            f"{remedy}; put credentials into OTEL_EXPORTER_OTLP_HEADERS",
        )
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() not in _HTTP_PORTS:
        raise ConfigError(f"use {name} {address!r}", f"unknown scheme {scheme!r}", remedy)
    try:
        parts = urlsplit(f"//{rest if separator else address}")
        _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"use {name} {address!r}", str(error), remedy) from None
    if _NOT_IN_ADDRESS.search(address):
        raise ConfigError(f"use {name} {address!r}", "not a host and a port", remedy)
    return scheme.lower() if separator else "", parts


def _is_secure(scheme: str, host: str, insecure: str | None, insecure_name: str) -> bool:
    if insecure is not None and insecure.lower() not in ("true", "false"):
        raise ConfigError(f"use {insecure_name}={insecure!r}", "not a boolean", "set it to true or false")
    if scheme:
        return scheme == "https"
    return insecure.lower() != "true" if insecure is not None else not _is_loopback(host)


def _protocol(text: str | None, name: str) -> str:
    if text not in (None, GRPC, HTTP):
        raise ConfigError(f"use {name}={text!r}", "unsupported protocol", f"set it to {GRPC} or {HTTP}")
    return text or GRPC


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(text: str | None, name: str, protocol: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        key, separator, value = item.partition("=")
        key, value = unquote(key).strip().lower(), unquote(value).strip()
        # Only what both protocols can carry; a value may be a secret and is never shown.
        if not separator or not _HEADER_KEY.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(f"use {name}", "not KEY=VALUE,KEY=VALUE in ASCII", "separate items with commas")
        if protocol == HTTP and key in _HTTP_OWN_HEADERS:
            raise ConfigError(f"use {name}", f"it has {key}, which describes the request", "leave it out")
        headers.append((key, value))
    return tuple(headers)


def _gzip(text: str | None, name: str) -> bool:
    if text not in (None, "none", "gzip"):
        raise ConfigError(f"use {name}={text!r}", "unsupported compression", "set it to gzip or none")
    return text == "gzip"


def _timeout(text: str | None, name: str) -> float:
    if text is None:
        return Endpoint.timeout_s
    if not re.fullmatch("0*[1-9][0-9]{0,6}", text):
        raise ConfigError(f"use {name}={text!r}", "not a number of milliseconds", "set it to 10000, say")
    return int(text) / 1000
