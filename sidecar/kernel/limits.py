# SPDX-License-Identifier: Apache-2.0
"""How many files the process may have open."""

import resource

from sidecar.errors import KernelError

FEWEST_FILES = 64
"""gRPC aborts the process where it finds no descriptor left: enough for it, a few sources and the journal."""


def raise_open_files() -> None:
    """
    Raise the limit of open files as far as it may be: each source has one or two.

    Raises:
        KernelError: It is below `FEWEST_FILES`, and may not be raised.

    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 0 <= hard < FEWEST_FILES:  # -1: no limit
        raise KernelError(
            "open files",
            f"no more than {hard} may be open",
            f"allow {FEWEST_FILES} or more: `ulimit -n`, or LimitNOFILE= in systemd",
        )
