# SPDX-License-Identifier: Apache-2.0
"""For which machines a release is built."""

import platform

# As Go, Debian and image indexes call them, and as the kernel does.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
ARCHITECTURES = tuple(MACHINES)


def of_this_machine() -> str:
    """Return what Go calls this machine."""
    machine = platform.machine()
    return next((name for name, kernel in MACHINES.items() if kernel == machine), machine)
