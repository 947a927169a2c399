# SPDX-License-Identifier: Apache-2.0
"""The limit of open files (getrlimit(2))."""

import resource

from sidecar.errors import KernelError

FEWEST_FILES = 64
"""Enough for gRPC, which aborts the process when it finds no descriptor, a few sources and the journal."""


def raise_open_files() -> None:
    """
    Raise the soft limit of open files to the hard one: each source holds one or two.

    Raises:
        KernelError: The hard limit is below `FEWEST_FILES`.

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
