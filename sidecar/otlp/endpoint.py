# SPDX-License-Identifier: Apache-2.0
"""
Where and how to send: the `--otel-*` flags and the standard `OTEL_EXPORTER_OTLP_*` variables.

Variables and their precedence follow the OpenTelemetry specification, `protocol/exporter.md`. Deliberate
differences from the Python SDK: a bare HOST:PORT is plaintext only on loopback, a scheme always decides,
`unix:` is plaintext, the timeout is in milliseconds as specified, and what the SDK would ignore (a path in
the address, half of a key pair, a header that gRPC cannot carry) is refused.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from sidecar.errors import ConfigError

DEFAULT_ENDPOINT = "localhost:4317"
# No Collector: counts are scraped from the status endpoint.
NOWHERE = "none"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_NOT_IN_ADDRESS = re.compile(r"[?#\s]")
_HEADER_KEY = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class Endpoint:
    """
    One OTLP/gRPC endpoint.

    Attributes:
        target: gRPC target, HOST:PORT or `unix:PATH`; or `NOWHERE`.
        secure: TLS if true.
        headers: Metadata of each call, keys in lower case; the values may be secrets.
        certificate: File with the trusted roots (PEM), or None for the built-in ones.
        client_key: File with the client's key (PEM), for mTLS.
        client_certificate: File with the client's certificate chain (PEM), for mTLS.
        gzip: Compress requests.
        timeout_s: Deadline of one call, seconds.
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
    file_settings: tuple[str, str, str] = field(
        default=(f"{_PREFIX}CERTIFICATE", f"{_PREFIX}CLIENT_KEY", f"{_PREFIX}CLIENT_CERTIFICATE"),
        compare=False,
    )

    @property
    def may_be_proxied(self) -> bool:
        """
        Whether gRPC may use the proxies that it finds in `grpc_proxy`, `https_proxy` and `http_proxy`.

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
    if address == NOWHERE:
        return Endpoint(NOWHERE, secure=False)
    target, secure = _target(address or DEFAULT_ENDPOINT, name, *setting(settings, "INSECURE"))
    _check_protocol(*setting(settings, "PROTOCOL"))
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
        target=target,
        secure=secure,
        headers=_headers(*setting(settings, "HEADERS")),
        certificate=certificate,
        client_key=client_key,
        client_certificate=client_certificate,
        gzip=_gzip(*setting(settings, "COMPRESSION")),
        timeout_s=_timeout(*setting(settings, "TIMEOUT")),
        file_settings=(certificate_name, key_name, client_certificate_name),
    )


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


def _target(address: str, name: str, insecure: str | None, insecure_name: str) -> tuple[str, bool]:
    remedy = "write HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    if "@" in address:
        # It may contain a password, so it is not shown.
        raise ConfigError(
            f"use {name}",
            "it contains a user name",
            f"{remedy}; put credentials into OTEL_EXPORTER_OTLP_HEADERS",
        )
    if address.startswith("unix:"):
        return address, False
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise ConfigError(f"use {name} {address!r}", f"unknown scheme {scheme!r}", remedy)
    try:
        parts = urlsplit(f"//{rest if separator else address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"use {name} {address!r}", str(error), remedy) from None
    if not host or not port or parts.path not in ("", "/") or _NOT_IN_ADDRESS.search(address):
        raise ConfigError(f"use {name} {address!r}", "not a host and a port", remedy)
    if insecure is not None and insecure.lower() not in ("true", "false"):
        raise ConfigError(f"use {insecure_name}={insecure!r}", "not a boolean", "set it to true or false")
    if separator:
        return parts.netloc, scheme.lower() == "https"
    plaintext = insecure.lower() == "true" if insecure is not None else _is_loopback(host)
    return parts.netloc, not plaintext


def _check_protocol(text: str | None, name: str) -> None:
    if text not in (None, "grpc"):
        raise ConfigError(f"use {name}={text!r}", "unsupported protocol", "set it to grpc")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(text: str | None, name: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        key, separator, value = item.partition("=")
        key, value = unquote(key).strip().lower(), unquote(value).strip()
        # Only what gRPC can carry; a value may be a secret and is never shown.
        if not separator or not _HEADER_KEY.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(f"use {name}", "not KEY=VALUE,KEY=VALUE in ASCII", "separate items with commas")
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
