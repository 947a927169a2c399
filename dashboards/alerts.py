# SPDX-License-Identifier: Apache-2.0
"""
What the dashboards and the chart take from the alerts: their thresholds, and the URL of their runbook.

The rules are the only place of a threshold: after a change there, `make dashboards` changes the colours of
the panels too.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).resolve().parent.parent / "deploy/prometheus/rules"

RUNBOOK = "docs/dashboards-and-alerts.md"
"""The document with a heading for each alert. A path: it is published where its users publish it."""

_URL = re.compile(r"https?://[^\s#$\"']+")
_ANNOTATION = re.compile(r"(?m)^(\s+runbook_url: \"?)[^#\n]*#")


def threshold(alert: str) -> float:
    """Return the number above or below which *alert* fires: the last one of its expression."""
    return float(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.\]])", _expr(alert))[-1])


def window(alert: str) -> str:
    """Return the range that *alert* looks at, such as `10m`."""
    (found,) = set(re.findall(r"\[(\w+)\]", _expr(alert)))
    return str(found)


def runbook_url() -> str:
    """Return the variable RUNBOOK_URL, by default RUNBOOK; raise SystemExit if it is no URL."""
    url = os.environ.get("RUNBOOK_URL") or RUNBOOK
    if url != RUNBOOK and not _URL.fullmatch(url):
        raise SystemExit(f"cannot use RUNBOOK_URL {url!r}: it is not an http(s) URL: correct it")
    return url


def with_runbook(rules: str, url: str) -> str:
    """Return the text of rules, or of their tests, with *url* before each anchor."""
    return _ANNOTATION.sub(lambda match: f"{match[1]}{url}#", rules)


@cache
def _alerts() -> dict[str, str]:
    rules: dict[str, Any] = yaml.safe_load((RULES / "xdp-alerts.yml").read_text())
    return {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


def _expr(alert: str) -> str:
    return _alerts()[alert]
