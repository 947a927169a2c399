# SPDX-License-Identifier: Apache-2.0
"""The error of the demo: one line, `cannot <verb> <object>: cause: remedy`."""


class DemoError(Exception):
    """Raised when the demo cannot go on; its text is the complete message."""
