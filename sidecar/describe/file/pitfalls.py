# SPDX-License-Identifier: Apache-2.0
"""What to write where YAML means something else than its author (pure)."""

import json
import re
from collections.abc import Sequence

_LONGEST_QUOTED = 60
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
# The beginning of the parser's message, and the remedy.
_SYNTAX = (
    ("mapping values are not allowed", "quote the text if a colon belongs to it, or else align the lines"),
    ("found undefined alias", "quote the text: without quotes, * begins an alias"),
    ("while scanning an alias", "quote the text: without quotes, * begins an alias"),
    ("while scanning an anchor", "quote the text: without quotes, & begins an anchor"),
    ("found character", "quote the text: it cannot begin with that character"),
    ("found unexpected end of stream", "close the quotes"),
    ("could not find expected ':'", "write `key: value`, with a space after the colon"),
    ("expected ',' or", "close the brackets, and quote text that contains one or a comma, as in 'u64[4]'"),
    ("expected alphabetic or numeric character", "quote the text: it cannot begin with * or &"),
)


def quoted(text: str) -> str:
    """Return *text* in quotes for YAML."""
    return f"'{text}'" if "'" not in text else json.dumps(text)


def single(what: str, flow: str) -> str:
    """Return how to write a single value; *flow* is what stands there in brackets, if it is one line."""
    # `unit: {packet}` is a mapping, `{a: b}` is meant as one.
    if not flow or len(flow) > _LONGEST_QUOTED or ":" in flow:
        return "write it after the colon"
    return f"quote it: {what}: {quoted(flow)}" if what.isidentifier() else f"quote it: {quoted(flow)}"


def integer(text: str) -> str:
    """Return how to write the integer that *text* may mean."""
    try:
        return f"write {int(re.sub('[_,]', '', text), 0)}, without quotes"
    except ValueError:
        return "write digits, without quotes"


def decimal(text: str) -> str:
    """Return how to write an integer in place of a number that is none, or that not all parsers agree on."""
    digits = text.lstrip("+-")
    if digits.isdecimal():
        # A leading zero: octal in YAML 1.1.
        return f'write {int(text)} if it is decimal, or "{text}" for text'
    try:
        number = float(text)
        whole = number.is_integer() and abs(number) < 1 << 53
    except ValueError:
        whole = False
    return f'write {int(number)}, or "{text}" for text' if whole else f'round it, or write "{text}" for text'


def boolean(text: str) -> str:
    """Return how to write the boolean that *text* may mean: YAML 1.1 had more words for them."""
    return f"write {_BOOLEANS[text.lower()]}" if text.lower() in _BOOLEANS else "write true or false"


def nothing(after: str) -> str:
    """Return the remedy for an empty value; *after* is the rest of its line."""
    if after.lstrip().startswith("#"):
        return "quote the text if # belongs to it, since it begins a comment, or leave the key out"
    return "write something, or leave the key out"


def syntax(problem: str, line: Sequence[str]) -> str:
    """Return the remedy for a problem that the YAML parser reports, given the line if there is one."""
    text = line[0] if line else ""
    if "\\t" in problem or re.match(r"\s*\t", text):
        return "indent with spaces: YAML allows no tabs there"
    # `unit: {packet}/s`
    if problem.startswith("expected <block end>") and re.search(r"[:-] +[{\[\"']", text):
        return "quote the whole text, since a bracket or a quote begins it"
    found = (remedy for beginning, remedy in _SYNTAX if problem.startswith(beginning))
    return next(found, "align the lines with their neighbours, and quote text with special characters")
