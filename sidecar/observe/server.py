# SPDX-License-Identifier: Apache-2.0
"""
The status endpoint: `/healthz`, `/readyz` and `/metrics`, available whatever the Collector does.

One thread serves all connections and only reads what the pipeline's loop writes. Clients cannot slow the loop
down: there are few connections, each is bounded (`http_connection`), a large page is rendered piece by piece
while it is read, and the thread sleeps for twice as long as it worked; while a cycle is computed, for ten
times as long, so it takes at most a tenth longer.
"""

import logging
import selectors
import socket
import time
from collections.abc import Sequence
from threading import Thread

from sidecar.model import Attribute
from sidecar.observe.exposition import CONTENT_TYPE, Exposition
from sidecar.observe.http_connection import Connection, Response
from sidecar.observe.listener import listen
from sidecar.observe.telemetry import Telemetry

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 8
"""At this limit a new one replaces the one idle for longest, so a probe is always served."""

_SLEEP_PER_WORK, _SLEEP_PER_WORK_IN_CYCLE = 2, 10
# How soon after a cycle the thread goes on.
_POLL_S = 0.002


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
        Listen; *patience_s* is how long the loop may be stalled before `/healthz` fails.

        Raises:
            ConfigError, RightsError, AddressError: As `listener.listen` does.

        """
        self._telemetry = telemetry
        self._patience_s = patience_s
        self._exposition = Exposition(resource)
        self._listener = listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._end, self._ended = socket.socketpair()
        self._connections: set[Connection] = set()
        self._selector = selectors.DefaultSelector()
        for waker in (self._listener, self._ended):
            self._selector.register(waker, selectors.EVENT_READ)
        self._thread = Thread(target=self._serve, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and drop all connections."""
        self._end.close()
        self._thread.join()
        for connection in [*self._connections]:
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        self._ended.close()

    def _serve(self) -> None:
        while True:
            due = min((each.deadline for each in self._connections), default=None)
            events = self._selector.select(None if due is None else max(0.0, due - time.monotonic()))
            began = time.thread_time()
            # New requests first: probes are served before a large page continues.
            for key, _ in sorted(events, key=lambda event: event[1]):
                if key.fileobj is self._ended:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._connections:
                    self._advance(key.data)
            now = time.monotonic()
            for late in [each for each in self._connections if each.deadline <= now]:
                self._drop(late)
            self._rest(time.thread_time() - began)

    def _rest(self, worked_s: float) -> None:
        """Leave the interpreter to the loop, whatever flood of requests or large page there is."""
        time.sleep(_SLEEP_PER_WORK * worked_s)
        end = time.monotonic() + (_SLEEP_PER_WORK_IN_CYCLE - _SLEEP_PER_WORK) * worked_s
        while self._telemetry.is_computing and time.monotonic() < end:
            time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            # The client is gone; or no descriptors are left, and retrying at once would spin.
            time.sleep(0.01)
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            self._drop(min(self._connections, key=lambda each: each.advanced_at))
        connection = Connection(accepted, self._respond)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _advance(self, connection: Connection) -> None:
        try:
            event = connection.advance()
        except BlockingIOError:
            return
        except OSError:
            event = 0  # the client is gone
        except Exception:
            log.exception("status: a response could not be rendered")
            event = 0
        if event:
            self._selector.modify(connection.socket, event, connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.close()

    def _respond(self, path: str) -> Response:
        if path == "/metrics":
            page = self._exposition.page(self._telemetry.families(), self._telemetry.sources)
            return Response(200, page, CONTENT_TYPE)
        if path == "/healthz":
            idle_s = time.monotonic() - self._telemetry.progressed_at
            alive = idle_s <= self._patience_s
            return Response(200, "ok\n") if alive else Response(503, f"no progress for {idle_s:.0f} s\n")
        if path == "/readyz":
            return Response(200, "ok\n") if self._telemetry.ready else Response(503, self._troubles())
        return Response(404, "/healthz, /readyz or /metrics\n")

    def _troubles(self) -> str:
        lines = [f"{where}: {cause}\n" for where, cause in self._telemetry.troubles.items()]
        return "".join(lines) or "no cycle has completed yet\n"
