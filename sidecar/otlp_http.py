# SPDX-License-Identifier: Apache-2.0
"""
Send one request by OTLP/HTTP and read the answer: one call, one outcome.

With the standard library's client. The whole call, the connection and each byte of the answer included, ends
at one deadline. What an answer means is in `otlp.http_answer`; the caller decides when to retry.
"""

import gzip
import io
import logging
import select
import ssl
import time
from base64 import b64encode
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import socket
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from sidecar import __version__
from sidecar.errors import ConfigError
from sidecar.otlp import http_answer
from sidecar.otlp.certificates import CertificateFiles, built_in_roots
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.one_call import OneCall
from sidecar.otlp.outcome import Outcome

log = logging.getLogger(__name__)

_LARGEST_ANSWER_BYTES = 64 << 10
_PROXY_PORT = 80


class HttpPusher:
    """A connection to one endpoint, made by the first call, and again when it was lost."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raise ConfigError if a certificate or key cannot be read."""
        self._endpoint = endpoint
        self._files = CertificateFiles(endpoint)
        self._context = self._load() if endpoint.secure else None
        self._proxy = _proxy(endpoint)
        self._headers = _headers(endpoint, self._proxy)
        self._connection: HTTPConnection | None = None
        self._reusable = False
        self._one_call = OneCall(endpoint.timeout_s)

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        """
        Send one serialized ExportMetricsServiceRequest and wait for the answer.

        *timeout_s* shortens the endpoint's deadline, which is monotonic.
        """
        if self._files.changed():
            self._reload()
        self._reusable = False
        outcome = self._one_call.make(partial(self._call, request), timeout_s)
        if not self._reusable:
            self.close()
        return outcome

    def interrupt(self) -> None:
        """
        End the call under way, if any, with the outcome Retry; from now on calls are short.

        A signal handler of the thread that pushes may call it: it ends the wait for the socket.
        """
        self._one_call.interrupt()

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _call(self, request: bytes, timeout_s: float) -> Outcome:
        try:
            return self._exchange(request, time.monotonic() + timeout_s)
        except (OSError, HTTPException) as error:
            return http_answer.no_answer(error, secure=self._endpoint.secure)

    def _exchange(self, request: bytes, deadline: float) -> Outcome:
        body = gzip.compress(request, mtime=0) if self._endpoint.gzip else request
        connection = self._connected(deadline)
        # Each wait of the socket for room is bounded, and so is their sum (`socket.sendall`).
        connection.sock.settimeout(_left_s(deadline))
        connection.request("POST", self._url, body, self._headers)
        with connection.getresponse() as answer:
            content = answer.read(_LARGEST_ANSWER_BYTES + 1)
        self._reusable = not answer.will_close and len(content) <= _LARGEST_ANSWER_BYTES
        return http_answer.outcome(answer.status, answer.getheader, content, len(request))

    @property
    def _url(self) -> str:
        """What is asked for: a proxy without a tunnel is given the whole URL."""
        direct = self._endpoint.secure or self._proxy is None
        return self._endpoint.path if direct else f"http://{self._endpoint.target}{self._endpoint.path}"

    def _connected(self, deadline: float) -> HTTPConnection:
        """Return a connection whose answers are read up to *deadline*."""
        if self._connection and _has_ended(self._connection.sock):
            self.close()
        connection = self._connection or self._new_connection()
        connection.response_class = partial(_Answer, deadline)  # type: ignore[assignment]
        if self._connection is None:
            connection.timeout = _left_s(deadline)
            self._connection = connection
            connection.connect()
        return connection

    def _new_connection(self) -> HTTPConnection:
        target = urlsplit(f"//{self._endpoint.target}")
        via = self._proxy or target
        host, port = via.hostname or "", via.port or _PROXY_PORT
        if self._context is None:
            return HTTPConnection(host, port)
        connection = HTTPSConnection(host, port, context=self._context)
        if self._proxy:
            connection.set_tunnel(target.hostname or "", target.port, _credentials(self._proxy))
        return connection

    def _load(self) -> ssl.SSLContext:
        self._files.read()
        context = ssl.create_default_context(cafile=self._endpoint.certificate or built_in_roots())
        if self._endpoint.client_certificate:
            context.load_cert_chain(self._endpoint.client_certificate, self._endpoint.client_key)
        return context

    def _reload(self) -> None:
        try:
            self._context = self._load()
        except (ConfigError, ssl.SSLError, OSError) as error:
            # The files are being replaced: keep what is loaded until the next change.
            log.warning("%s", error)
            return
        self.close()


class _Answer(HTTPResponse):
    """An answer whose every byte must arrive before a deadline: a slow server cannot prolong the call."""

    def __init__(self, deadline: float, sock: socket, **options: Any) -> None:
        super().__init__(_Timed(sock, deadline), **options)  # type: ignore[arg-type]


class _Timed(io.RawIOBase):
    def __init__(self, sock: socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left_s(self._deadline))
        return self._sock.recv_into(buffer)


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


def _has_ended(sock: socket | None) -> bool:
    """Return whether the other side has closed an idle connection, or says something unasked for."""
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _proxy(endpoint: Endpoint) -> SplitResult | None:
    """Return the proxy that `https_proxy` or `http_proxy` names, unless `no_proxy` excludes the endpoint."""
    if not endpoint.may_be_proxied:
        return None
    proxies = getproxies()
    named = proxies.get("https" if endpoint.secure else "http")
    if not named or proxy_bypass(endpoint.target, proxies):
        return None
    parts = urlsplit(named if "://" in named else f"//{named}")
    return parts if parts.hostname else None


def _headers(endpoint: Endpoint, proxy: SplitResult | None) -> dict[str, str]:
    headers = {"User-Agent": f"xdp-otel/{__version__}", **dict(endpoint.headers)}
    headers["Content-Type"] = http_answer.CONTENT_TYPE
    if endpoint.gzip:
        headers["Content-Encoding"] = "gzip"
    if proxy and not endpoint.secure:
        headers |= {"Host": endpoint.target, **_credentials(proxy)}
    return headers


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
