# SPDX-License-Identifier: Apache-2.0
"""JSON for a terminal or a pipe (pure)."""

import json


def json_text(value: object, indent: int | None = None) -> str:
    """Return *value* as JSON in ASCII: what is in a map controls no terminal, whatever its encoding."""
    # DEL is the one control character that the standard library leaves as it is.
    return json.dumps(value, indent=indent).replace("\x7f", r"\u007f")
