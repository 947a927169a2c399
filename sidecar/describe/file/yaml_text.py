# SPDX-License-Identifier: Apache-2.0
"""Text as YAML writes it (pure)."""

import json
import re

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./:-]*")
_NOT_TEXT = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def scalar(text: str) -> str:
    """Return *text* as a YAML scalar, quoted unless every parser reads it as text."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT and not text.endswith(":")
    return text if plain else json.dumps(text)
