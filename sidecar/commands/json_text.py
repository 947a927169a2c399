# SPDX-License-Identifier: Apache-2.0
"""JSON for a terminal or a pipe (pure)."""

import json


def json_text(value: object, indent: int | None = None) -> str:
    """Return *value* as ASCII JSON: no string from a map can control the terminal."""
    # DEL is the only control character that `json` does not escape.
    return json.dumps(value, indent=indent).replace("\x7f", r"\u007f")
