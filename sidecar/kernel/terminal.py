# SPDX-License-Identifier: Apache-2.0
"""Whether the process has a controlling terminal."""

from pathlib import Path


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal (proc_pid_stat(5), `tty_nr`)."""
    try:
        # The name of the program, in parentheses, may contain anything.
        state = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return state[4] != b"0"
