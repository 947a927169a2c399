# SPDX-License-Identifier: Apache-2.0
"""The socket of the status endpoint."""

import errno
import socket

from sidecar.errors import AddressError, ConfigError, RightsError, SidecarError, explain
from sidecar.kernel.capabilities import Capability, remedy

_SEND_BUFFER = 1 << 18


def listen(host: str, port: int) -> socket.socket:
    """
    Return a socket that listens on an address.

    Raises:
        ConfigError: The host has no address.
        RightsError: The port is below 1024, and the capability for it is missing.
        AddressError: It is in use, or not on this machine (yet).

    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # For each connection: unread data is kernel memory that counts against the container's limit.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listening.setblocking(False)
        listening.bind((host, port))
        listening.listen()
    except (OSError, UnicodeError, TypeError) as error:
        listening.close()
        raise _cannot_listen(f"serve status on {host}:{port}", error) from None
    return listening


def _cannot_listen(what: str, error: Exception) -> SidecarError:
    choose = "choose another with --status-address"
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return AddressError(what, "the resolver does not answer", "try again, or give an address")
    # Besides EAI_NONAME: names that IDNA cannot encode.
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError):
        return ConfigError(what, "the name has no address", choose)
    if error.errno == errno.EACCES:
        return RightsError(what, explain(error), f"{remedy(Capability.NET_BIND_SERVICE)}; or {choose}")
    how = {
        errno.EADDRINUSE: f"end what listens there (`ss -ltnp`), or {choose}",
        errno.EADDRNOTAVAIL: f"`ip address` lists this machine's addresses: add it, or {choose}",
    }
    return AddressError(what, explain(error), how.get(error.errno or 0, choose))
