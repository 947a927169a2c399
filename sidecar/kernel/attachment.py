# SPDX-License-Identifier: Apache-2.0
"""
Tell cheaply that nothing happened to an attachment since it was looked at as a whole (`xdp.attach`).

That takes a dozen system calls for each interface and cycle, one of them a question to rtnetlink. Here it is
one look at the pinned link, and for all interfaces together, whether the kernel has told of a change to any.
"""

import os
import time

from sidecar.errors import KernelError
from sidecar.kernel import netlink
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface

# All sources of a cycle share one look.
_LOOK_EVERY_S = 0.01


class Attachment:
    """The link of one interface of the sidecar's own network namespace; of any other, nothing is known."""

    def __init__(self, interface: Interface) -> None:
        """Know nothing yet."""
        self._is_own = interface.netns is None
        self._pin = str(interface.link_pin)
        self._changes_before = -1
        self._link: bpf.LinkInfo | None = None

    def look_begins(self) -> None:
        """Note that the attachment is now being looked at as a whole: what changes from here on counts."""
        self._changes_before = _interfaces.changes() if self._is_own else -1

    def look_ended(self) -> None:
        """Note that it was found, or made, as it should be."""
        self._link = self._present() if self._changes_before >= 0 else None

    def is_untouched(self) -> bool:
        """Return whether the link is what it was then, and no interface has changed."""
        return (
            self._link is not None
            and self._changes_before == _interfaces.changes()
            and self._link == self._present()
        )

    def _present(self) -> bpf.LinkInfo | None:
        try:
            fd = bpf.obj_get(self._pin)
        except OSError:
            return None  # none, or libxdp's
        try:
            return bpf.link_info(fd)
        except OSError:
            return None
        finally:
            os.close(fd)


class _Interfaces:
    """Counts how often an interface of this network namespace came, went or changed."""

    def __init__(self) -> None:
        self._messages: netlink.Changes | None = None
        self._changes = 0
        self._next_look = 0.0

    def changes(self) -> int:
        """Return the number so far; -1 if it cannot be known."""
        now = time.monotonic()
        if now < self._next_look:
            return self._changes
        try:
            self._messages = self._messages or netlink.Changes(of_routes=False)
        except KernelError:  # seccomp may forbid rtnetlink
            return -1
        self._next_look = now + _LOOK_EVERY_S
        self._changes += self._messages.take()
        return self._changes


# A socket of another network namespace would keep it alive.
_interfaces = _Interfaces()
