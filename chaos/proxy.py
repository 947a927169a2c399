# SPDX-License-Identifier: Apache-2.0
"""
A network that fails on demand: a protocol-agnostic TCP proxy.

Between sidecar and Collector, it forwards, cuts, stalls, drops or delays bytes.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from select import select

_RESET = struct.pack("ii", 1, 0)
_SLICE_S = 0.02
# A gRPC client sends fewer bytes than this before its first request: preface, settings, window update. So
# only responses to requests are dropped or delayed, not the handshake, without which nothing would be sent.
_HANDSHAKE_BYTES = 300


class Weather(Enum):
    """What happens to bytes."""

    FAIR = "everything passes"
    CUT = "connections are reset, new ones too"
    HOLE = "nothing passes, without an error"
    HOLD = "requests wait, responses pass"
    SWALLOW = "requests pass, responses are lost"
    LATE = "requests pass, responses are delayed"


class Proxy:
    """Listens on its own port on 127.0.0.1 and forwards to another."""

    def __init__(self, target: int) -> None:
        """Listen; connect to *target* for each client."""
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_s = 0.0
        """Delay of a response in Weather.LATE, seconds."""
        self.spoiled = 0
        """How many pieces of responses were dropped or delayed."""
        self._weather = Weather.FAIR
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def target(self) -> int:
        """The port on 127.0.0.1 to forward to; a change resets all connections."""
        return self._target

    @target.setter
    def target(self, target: int) -> None:
        self._target = target
        self._reset(lambda _: True)

    @property
    def weather(self) -> Weather:
        """What happens to bytes now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        # A connection that lost bytes is unusable.
        self._reset(lambda pair: weather is Weather.CUT or (weather is not Weather.SWALLOW and pair.robbed))

    def close(self) -> None:
        """Reset every connection and stop listening."""
        self.weather = Weather.CUT
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _reset(self, chosen: "Callable[[_Pair], bool]") -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            if chosen(pair):
                pair.reset()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._weather is Weather.CUT:
                raise ConnectionError
            target = self._target
            server = socket.create_connection(("127.0.0.1", target), timeout=5)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        with self._lock:
            self._pairs.add(pair)
        if target != self._target:
            pair.reset()
        for source in (client, server):
            threading.Thread(target=self._pump, args=(pair, source), daemon=True).start()

    def _pump(self, pair: "_Pair", source: socket.socket) -> None:
        try:
            while self._forward(pair, source):
                pass
        except (OSError, ValueError):  # ValueError: select on a socket that the other side's pump has closed
            pass
        finally:
            pair.reset()
            with self._lock:
                self._pairs.discard(pair)

    def _forward(self, pair: "_Pair", source: socket.socket) -> bool:
        """Forward one piece; return False at the end of the stream."""
        if self._weather is Weather.HOLE or (self._weather is Weather.HOLD and source is pair.client):
            time.sleep(_SLICE_S)
            return True
        ready, _, _ = select([source], [], [], _SLICE_S)
        if not ready:
            return True
        data = source.recv(1 << 16)
        if source is pair.client:
            pair.requested += len(data)
            pair.server.sendall(data)
        elif self._weather is Weather.SWALLOW and pair.requested > _HANDSHAKE_BYTES:
            pair.robbed = True
            self.spoiled += 1
        else:
            if self._weather is Weather.LATE and pair.requested > _HANDSHAKE_BYTES:
                self.spoiled += 1
                time.sleep(self.delay_s)
            pair.client.sendall(data)
        return bool(data)


class _Pair:
    """The two halves of a connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.requested = 0
        self.robbed = False

    def reset(self) -> None:
        _reset(self.client)
        _reset(self.server)


def _reset(end: socket.socket) -> None:
    """Close with RST, like a peer that vanished, without a FIN."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Wake the pump that waits for it before the descriptor can be reused.
        end.shutdown(socket.SHUT_RD)
    end.close()
