# SPDX-License-Identifier: Apache-2.0
"""gRPC as we need it: import it from here."""

import os
import sys

__all__ = ["grpc"]

# Its core writes to descriptor 2 itself, what the other side says included. All of that is in the outcome.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
_loaded = sys.modules.get("ssl")
if _loaded is None:
    # gRPC imports asyncio, which can do without `ssl`, as we do: gRPC brings its own TLS. It is 4 MB.
    sys.modules["ssl"] = None  # type: ignore[assignment]
try:
    import grpc
finally:
    if _loaded is None:
        del sys.modules["ssl"]
