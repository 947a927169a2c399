# SPDX-License-Identifier: Apache-2.0
"""gRPC as we need it: import it from here."""

import os
import sys

from sidecar.errors import KernelError, explain

__all__ = ["grpc"]

# Its core writes to descriptor 2 itself, what the other side says included. All of that is in the outcome.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
try:
    os.close(os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC))
except OSError as error:
    # gRPC would abort the process.
    raise KernelError("open /dev/urandom", explain(error), "make /dev, gRPC needs it") from None

_loaded = sys.modules.get("ssl")
if _loaded is None:
    # gRPC imports asyncio, which can do without `ssl`, as we do: gRPC brings its own TLS. It is 4 MB.
    sys.modules["ssl"] = None  # type: ignore[assignment]
try:
    import grpc
finally:
    if _loaded is None:
        del sys.modules["ssl"]
