# SPDX-License-Identifier: Apache-2.0
"""The TCP ports of the stack, all on 127.0.0.1: the defaults, the user's choice, or free ports."""

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, fields

from demo.errors import DemoError


@dataclass(frozen=True)
class Ports:
    """A port for each listener."""

    otlp: int = 4317
    """The Collector receives OTLP by gRPC."""
    metrics: int = 8889
    """The Collector serves the counters."""
    telemetry: int = 8888
    """The Collector serves metrics about itself."""
    health: int = 13133
    """The Collector reports its health."""
    prometheus: int = 9090
    """Prometheus answers queries."""

    @classmethod
    def from_environment(cls) -> "Ports":
        """
        Return the default ports, each replaced by its variable DEMO_<NAME>_PORT if that is set.

        Raises DemoError for an invalid port.
        """
        chosen = {}
        for field in fields(cls):
            variable = _variable(field.name)
            text = os.environ.get(variable, "")
            if not text:
                continue
            if not text.isdecimal() or not 0 < int(text) < 1 << 16:
                raise DemoError(
                    f"cannot read {variable}: {text!r} is not a port: set a number from 1 to 65535"
                )
            chosen[field.name] = int(text)
        return cls(**chosen)

    @classmethod
    def free(cls) -> "Ports":
        """Return ports that are free at this moment."""
        with ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in fields(cls)]
            return cls(*(listener.getsockname()[1] for listener in sockets))

    def check(self) -> None:
        """Raise DemoError for the first port that is in use."""
        for field in fields(self):
            port = getattr(self, field.name)
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError as error:
                cause = os.strerror(error.errno or 0)
                raise DemoError(
                    f"cannot listen on port {port}: {cause}: stop the listener "
                    f"(ss -ltnp 'sport = :{port}' names it), or use another: {_variable(field.name)}=PORT"
                ) from error


def _variable(name: str) -> str:
    return f"DEMO_{name.upper()}_PORT"
