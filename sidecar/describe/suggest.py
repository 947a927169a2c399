# SPDX-License-Identifier: Apache-2.0
"""What to write instead of a name that is not known."""

from collections.abc import Iterable

_MOST = 12


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown *word*: the known name that is most like it, and the others."""
    # Only needed once something is wrong: a sidecar that runs does not pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    names = list(dict.fromkeys(known))
    if not names:
        return "leave it out"
    listed = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    lower = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[close[0]]!r}? It is one of {listed}" if close else f"it is one of {listed}"


def at_line(at: str, what: str) -> str:
    """Return what a message begins with: the line that says *what*, if a file does."""
    return f"{at}: {what}" if at else f"use {what}"
