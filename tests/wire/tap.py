# SPDX-License-Identifier: Apache-2.0
"""A TCP forwarder in front of a server that counts bytes and can fail as networks do."""

import contextlib
import socket
import threading


class Tap:
    """A TCP forwarder that counts the bytes sent to the server."""

    def __init__(self, port):
        self.sent_bytes = 0
        self._server_port = port
        self._open = []
        self._swallowed = set()
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def swallow(self):
        """Silently drop all further data of the open connections; new ones work."""
        self._swallowed.update(self._open)

    def cut(self):
        """Shut down every open connection."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._open):
            end.close()

    def _spawn(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += (client, server)
                self._spawn(self._pump, client, server, True)
                self._spawn(self._pump, server, client, False)

    def _pump(self, source, sink, from_client):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent_bytes += len(data) if from_client else 0
                if source not in self._swallowed:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
