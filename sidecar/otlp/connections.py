# SPDX-License-Identifier: Apache-2.0
"""Which connections this process has: gRPC reconnects silently."""

import os
import stat
import time


def present() -> frozenset[int]:
    """
    Return the inodes of this process's sockets.

    The kernel numbers each socket anew (`sock_alloc`, net/socket.c), so while the set is unchanged there was
    no reconnect. A probe of the status address in progress adds one for a moment. Without /proc the
    connections are unknown, and no two results are equal.
    """
    try:
        descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are enough
    except OSError:
        return frozenset((-time.monotonic_ns(),))
    inodes = set()
    for descriptor in descriptors:
        try:
            status = os.fstat(int(descriptor))
        except OSError:  # closed in the meantime
            continue
        if stat.S_ISSOCK(status.st_mode):
            inodes.add(status.st_ino)
    return frozenset(inodes)
