# SPDX-License-Identifier: Apache-2.0
"""Which connections this process has: gRPC makes new ones without a word."""

import os
import stat
import time


def present() -> frozenset[int]:
    """
    Return the inodes of this process's sockets.

    The kernel gives each socket another number (`sock_alloc`, net/socket.c), so as long as they are the same,
    no connection was made anew. A probe of the status address that is under way adds one for a moment. Where
    /proc is not there nobody knows: what is returned then is never the same.
    """
    try:
        descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are enough
    except OSError:
        return frozenset((-time.monotonic_ns(),))
    found = set()
    for descriptor in descriptors:
        try:
            status = os.fstat(int(descriptor))
        except OSError:  # closed meanwhile
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.add(status.st_ino)
    return frozenset(found)
