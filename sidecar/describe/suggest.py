# SPDX-License-Identifier: Apache-2.0
"""The known name nearest to an unknown one."""

from collections.abc import Iterable

_MAX_LISTED = 12


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown *word*: the most similar known name, and the list of them."""
    # Imported only for an error: a sidecar that runs does not pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    names = list(dict.fromkeys(known))
    if not names:
        return "leave it out"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    listed = ", ".join(names[:_MAX_LISTED]) + more
    lower = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[close[0]]!r}? It is one of {listed}" if close else f"it is one of {listed}"
