# SPDX-License-Identifier: Apache-2.0
"""Mount bpffs at the node's /sys/fs/bpf, unless it is there: the mount point is shared with the node."""

import ctypes
import os
import sys

PLACE = b"/sys/fs/bpf"


def mounted() -> bool:
    """Return whether bpffs is there."""
    with open("/proc/self/mountinfo", "rb") as mounts:
        return any(fields.split()[4] == PLACE and b" - bpf " in fields for fields in mounts)


if mounted():
    print("bpffs is there")
    sys.exit()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"bpf", PLACE, b"bpf", 0, b"mode=0700") != 0:
    cause = os.strerror(ctypes.get_errno())
    sys.exit(f"mount bpffs at /sys/fs/bpf: {cause}: does the kernel have CONFIG_BPF_SYSCALL?")
print("mounted bpffs at /sys/fs/bpf")
