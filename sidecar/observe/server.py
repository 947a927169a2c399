# SPDX-License-Identifier: Apache-2.0
"""
The status endpoint: `/healthz`, `/readyz` and `/metrics`, readable whatever the Collector does.

One thread serves all connections and only reads what the loop writes. Nothing that clients do takes much from
the loop: there are few connections, each is bounded (`http_connection`), a large page is made piece by piece
while it is read, and the thread rests for twice as long as it worked.
"""

import logging
import selectors
import socket
import time
from collections.abc import Sequence
from threading import Thread

from sidecar.errors import ConfigError, explain
from sidecar.model import Attribute
from sidecar.observe.exposition import CONTENT_TYPE, Exposition
from sidecar.observe.http_connection import Answer, Connection
from sidecar.observe.telemetry import Telemetry

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 8
"""With as many, the one that has waited the longest is cut for a new one: a probe is served in any case."""

_REST = 2
_SEND_BUFFER = 1 << 18


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
        self._telemetry = telemetry
        self._patience_s = patience_s
        self._exposition = Exposition(resource)
        self._listener = _listener(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._end, self._ended = socket.socketpair()
        self._connections: set[Connection] = set()
        self._selector = selectors.DefaultSelector()
        for one in (self._listener, self._ended):
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = Thread(target=self._serve, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, whatever is under way."""
        self._end.close()
        self._thread.join()
        for connection in [*self._connections]:
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        self._ended.close()

    def _serve(self) -> None:
        while True:
            due = min((one.deadline for one in self._connections), default=None)
            events = self._selector.select(None if due is None else max(0.0, due - time.monotonic()))
            began = time.thread_time()
            # New requests first: probes are answered before a large page goes on.
            for key, _ in sorted(events, key=lambda event: event[1]):
                if key.fileobj is self._ended:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._connections:
                    self._move(key.data)
            now = time.monotonic()
            for late in [one for one in self._connections if one.deadline <= now]:
                self._drop(late)
            # So no flood of requests, and no large page, takes the interpreter from the loop for long.
            time.sleep(_REST * (time.thread_time() - began))

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            # The client is gone again; or there are no more descriptors, and it would be tried without end.
            time.sleep(0.01)
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            self._drop(min(self._connections, key=lambda one: one.moved))
        connection = Connection(accepted, self._answer)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _move(self, connection: Connection) -> None:
        try:
            event = connection.move()
        except BlockingIOError:
            return
        except OSError:
            event = 0  # the client is gone
        except Exception:
            log.exception("status: an answer could not be made")
            event = 0
        if event:
            self._selector.modify(connection.socket, event, connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.close()

    def _answer(self, path: str) -> Answer:
        if path == "/metrics":
            page = self._exposition.page(self._telemetry.families(), self._telemetry.measured)
            return Answer(200, page, CONTENT_TYPE)
        if path == "/healthz":
            idle_s = time.monotonic() - self._telemetry.turned_at
            alive = idle_s <= self._patience_s
            return Answer(200, "ok\n") if alive else Answer(503, f"no cycle for {idle_s:.0f} s\n")
        if path == "/readyz":
            ready = self._telemetry.ready
            return Answer(200, "ok\n") if ready else Answer(503, "a map cannot be read: see the log\n")
        return Answer(404, "/healthz, /readyz or /metrics\n")


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Of each connection: what is not read yet is the kernel's memory, and counts as the container's.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listener.setblocking(False)
        listener.bind((host, port))
        listener.listen()
    except (socket.gaierror, UnicodeError, TypeError):  # the last two are of names that IDNA cannot say
        cause = "that name has no address"
    except OSError as error:
        cause = explain(error)
    else:
        return listener
    listener.close()
    raise ConfigError(f"serve status on {host}:{port}", cause, "choose another with --status-address")
