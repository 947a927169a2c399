# SPDX-License-Identifier: Apache-2.0
"""The error about one entry of a configuration, whether or not a file wrote it."""

from sidecar.errors import ConfigError, SidecarError


def entry_error(
    at: str, entry: str, cause: str, remedy: str, error: type[SidecarError] = ConfigError
) -> SidecarError:
    """
    Return the error that refuses an entry.

    Args:
        at: `file:line` of the entry; empty if it comes from a flag or a default.
        entry: What it is, `metric 'flow.packets'`.
        cause: Why it is refused.
        remedy: What to write instead.
        error: The class of the error.

    """
    return error(entry if at else f"use {entry}", cause, remedy, at=at)
