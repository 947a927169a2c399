# SPDX-License-Identifier: Apache-2.0
"""gRPC without Python's `ssl` and without its own log. Import it from here."""

import os
import sys

from sidecar.errors import KernelError, explain

__all__ = ["grpc"]

# Its core writes to descriptor 2, including text of the other side. The outcome of a call has all of that.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
try:
    os.close(os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC))
except OSError as error:
    # gRPC would abort the process.
    raise KernelError("open /dev/urandom", explain(error), "make /dev, gRPC needs it") from None

_blocked = "ssl" not in sys.modules
if _blocked:
    # gRPC has its own TLS. It imports asyncio, which works without `ssl`: that saves 4 MB.
    sys.modules["ssl"] = None  # type: ignore[assignment]
try:
    import grpc
except ImportError:
    if not _blocked:
        raise
    # This version of gRPC requires it.
    del sys.modules["ssl"]
    _blocked = False
    import grpc
finally:
    if _blocked:
        del sys.modules["ssl"]
