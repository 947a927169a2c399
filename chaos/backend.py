# SPDX-License-Identifier: Apache-2.0
"""A second exporter of the Collector and its backend, which says no after the first exporter has counted."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Backend:
    """
    Takes OTLP by HTTP on a port of its own on 127.0.0.1, keeps nothing, and answers what it is told to.

    Attributes:
        status: The HTTP status of each answer.
        requests: How many requests have come.

    """

    def __init__(self, status: int = 200) -> None:
        """Listen."""
        self.status = status
        self.requests = 0
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                backend.requests += 1
                self.send_response(backend.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def overrides(self) -> tuple[str, ...]:
        """The settings that give a Collector with config.yaml this second exporter, without a queue."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        waits_for_nobody = "sending_queue: {enabled: false}, retry_on_failure: {enabled: false}"
        return (
            f"exporters::otlp_http/second: {{endpoint: '{url}', compression: none, {waits_for_nobody}}}",
            "service::pipelines::metrics::exporters: [prometheus, otlp_http/second]",
        )

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
