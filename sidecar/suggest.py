# SPDX-License-Identifier: Apache-2.0
"""The known name nearest to an unknown one (pure)."""

from collections.abc import Iterable

_MAX_LISTED = 12
# One wrong letter of two is a mistake, three of six are another word.
_SHORT = 3


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to *word*, in any case; None if none is similar."""
    # Imported only for an error: a sidecar that runs does not pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.65 if len(word) > _SHORT else 0.5)
    return lower[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the remedy for an unknown *word* of many names: the nearest one, if any, and *otherwise*."""
    close = nearest(word, known)
    return f"did you mean {close!r}? {otherwise}" if close else otherwise


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown *word* of few names: the nearest one, if any, and the list of them."""
    names = list(dict.fromkeys(known))
    if not names:
        return "leave it out"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    listed = ", ".join(names[:_MAX_LISTED]) + more
    close = nearest(word, reversed(names))
    return f"did you mean {close!r}? It is one of {listed}" if close else f"it is one of {listed}"
