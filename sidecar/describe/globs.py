# SPDX-License-Identifier: Apache-2.0
"""Shell patterns of pins and names, and attributes made of what their wildcards matched (pure)."""

import re
from collections.abc import Sequence
from functools import cache

from sidecar.describe.entry_error import entry_error
from sidecar.model import Attributes

_WILDCARD = re.compile(r"\*|\?|\[!?(?:\][^]/]*|[^]/]+)\]")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def is_glob(text: str) -> bool:
    """Return whether a text has wildcards: `*`, `?`, `[abc]`, `[!abc]`."""
    return _WILDCARD.search(text) is not None


def matched(pattern: str, text: str) -> tuple[str, ...] | None:
    """Return *text* and what each wildcard of *pattern* matched in it, never a slash; None: no match."""
    match = _compiled(pattern).fullmatch(text)
    return (text, *match.groups()) if match else None


def filled(attributes: Attributes, matches: Sequence[str]) -> Attributes:
    """Return the attributes with `{1}` replaced by what the first wildcard matched, `{0}` by the whole."""

    def fill(value: str | int | bool) -> str | int | bool:
        if not isinstance(value, str):
            return value
        return _PLACEHOLDER.sub(lambda found: _printable(matches[int(found[1])]), value)

    return tuple((name, fill(value)) for name, value in attributes)


def has_placeholders(attributes: Attributes) -> bool:
    """Return whether some attribute is made of what a wildcard matched."""
    return any(isinstance(value, str) and _PLACEHOLDER.search(value) for _, value in attributes)


def refuse_placeholders(attributes: Attributes, pattern: str, at: str) -> None:
    """Raise ConfigError, with the place *at*, if an attribute names a wildcard that *pattern* lacks."""
    wildcards = len(_WILDCARD.findall(pattern))
    known = {str(number) for number in range(wildcards + 1)}
    for name, value in attributes:
        for found in _PLACEHOLDER.findall(value) if isinstance(value, str) else ():
            if found not in known:
                cause = f"{{{found}}} is none of the pattern's wildcards"
                remedy = f"write {{1}}, up to {{{wildcards}}}, for what they match, or {{0}} for the whole"
                raise entry_error(at, f"attribute {name!r}", cause, remedy)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts, at = [], 0
    for wildcard in _WILDCARD.finditer(pattern):
        parts += [re.escape(pattern[at : wildcard.start()]), _group(wildcard[0])]
        at = wildcard.end()
    return re.compile("".join((*parts, re.escape(pattern[at:]))), re.DOTALL)


def _group(wildcard: str) -> str:
    if wildcard in ("*", "?"):
        return {"*": "([^/]*)", "?": "([^/])"}[wildcard]
    inside = wildcard[1:-1]
    is_negated = inside.startswith("!") and len(inside) > 1
    members = re.sub(r"([\\^\[\]&~|])", r"\\\1", inside[1:] if is_negated else inside)
    group = f"([^/{members}])" if is_negated else f"([{members}])"
    try:
        re.compile(group)
    except re.error:  # an empty range, such as [z-a]
        return r"([^\s\S])"
    return group


def _printable(text: str) -> str:
    """Return a part of a path as valid UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
