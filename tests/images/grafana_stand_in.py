# SPDX-License-Identifier: Apache-2.0
"""
Stands where Grafana would: answers what it finds mounted, as JSON, and judges nothing.

`GET /api/health` answers as Grafana's does. `GET /files` lists what lies under the directories that Grafana
reads, with content; `writable` tells whether its database could be created.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA = Path(os.environ.get("GF_PATHS_DATA", "/var/lib/grafana"))
PROVISIONING = Path(os.environ.get("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning"))


def report() -> dict[str, object]:
    """Return the variables that are Grafana's, the files and whether Grafana could write its database."""
    found = [*PROVISIONING.rglob("*"), *(DATA / "dashboards").rglob("*")]
    return {
        "environment": {name: text for name, text in os.environ.items() if name.startswith(("GF_", "PROM"))},
        "files": {str(file): file.read_text() for file in found if file.is_file()},
        "writable": os.access(DATA, os.W_OK),
    }


class Handler(BaseHTTPRequestHandler):
    """The two paths."""

    def do_GET(self) -> None:
        """Answer."""
        answer = {"database": "ok"} if self.path == "/api/health" else report()
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


# The first process of a container gets no signal that it does not ask for.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
host = os.environ.get("GF_SERVER_HTTP_ADDR", "")
ThreadingHTTPServer((host, int(os.environ.get("GF_SERVER_HTTP_PORT", "3000"))), Handler).serve_forever()
