# SPDX-License-Identifier: Apache-2.0
"""
The status endpoint: `/healthz`, `/readyz` and `/metrics`, readable whatever the Collector does.

It runs in a thread of its own and only reads; it is loaded only when it is asked for, since the HTTP server
costs 2 MB.
"""

import socket
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sidecar.errors import ConfigError, explain
from sidecar.exposition import CONTENT_TYPE, exposition
from sidecar.model import Attribute
from sidecar.telemetry import Telemetry


class _IPv6Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class StatusServer:
    """Serves one telemetry on one address until it is closed."""

    def __init__(
        self,
        host: str,
        port: int,
        telemetry: Telemetry,
        patience_s: float,
        resource: Sequence[Attribute] = (),
    ) -> None:
        """
        Listen; *patience_s* is how long the loop may stand still before `/healthz` says so.

        Raises:
            ConfigError: The address cannot be had.

        """
        shared = {"telemetry": telemetry, "patience_s": patience_s, "resource": resource}
        try:
            # The server makes a handler for each request: what they share is in their class.
            server = _IPv6Server if ":" in host else ThreadingHTTPServer
            self._server = server((host, port), type("Handler", (_Handler,), shared))
        except OSError as error:
            raise ConfigError(
                f"serve status on {host}:{port}", explain(error), "choose another with --status-address"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    telemetry: Telemetry
    patience_s: float
    resource: Sequence[Attribute]
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/metrics":
            body = exposition(self.telemetry.families(), self.telemetry.measured, self.resource)
            self._answer(200, body, CONTENT_TYPE)
        elif self.path == "/healthz":
            idle_s = time.monotonic() - self.telemetry.turned_at
            alive = idle_s <= self.patience_s
            self._answer(200 if alive else 503, "ok\n" if alive else f"no cycle for {idle_s:.0f} s\n")
        elif self.path == "/readyz":
            ready = self.telemetry.ready
            self._answer(200 if ready else 503, "ok\n" if ready else "a map cannot be read: see the log\n")
        else:
            self._answer(404, "/healthz, /readyz or /metrics\n")

    def log_message(self, *_: object) -> None:
        """Say nothing: probes come every few seconds."""

    def _answer(self, code: int, body: str, content_type: str = "text/plain; charset=utf-8") -> None:
        data = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
