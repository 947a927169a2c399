# SPDX-License-Identifier: Apache-2.0
"""A second exporter of the Collector and its backend, which refuses after the first exporter has counted."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Backend:
    """
    Receives OTLP over HTTP on its own port on 127.0.0.1, discards it and responds as scripted.

    Attributes:
        status: The HTTP status of each response.
        requests: The number of requests received.

    """

    def __init__(self, status: int = 200) -> None:
        """Start to listen."""
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
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def overrides(self) -> tuple[str, ...]:
        """The settings that add this exporter, without a queue, to a Collector with config.yaml."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        unbuffered = "sending_queue: {enabled: false}, retry_on_failure: {enabled: false}"
        return (
            f"exporters::otlp_http/second: {{endpoint: '{url}', compression: none, {unbuffered}}}",
            "service::pipelines::metrics::exporters: [prometheus, otlp_http/second]",
        )

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
