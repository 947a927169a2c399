# SPDX-License-Identifier: Apache-2.0
"""The one error of the demo: a line that says what failed, on which object, why and what to do."""


class DemoError(Exception):
    """Raised when the demo cannot go on; its text is the whole message for the user."""
