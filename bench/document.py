# SPDX-License-Identifier: Apache-2.0
"""Put the figures of bench/results.json into docs/performance.md: `python -m bench.document`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from bench.place import HERE, ROOT
from bench.profile import render as render_profiles
from bench.table import Row, render

_PAGE = ROOT / "docs/performance.md"


def main() -> None:
    """Rewrite the generated parts of the page."""
    _PAGE.write_text(filled(_PAGE.read_text(), json.loads((HERE / "results.json").read_text())))


def filled(page: str, results: Mapping[str, Any]) -> str:
    """Return the page with figures and profile from results.json between their marker comments."""
    machine = "; ".join(f"{name}: {value}" for name, value in results["machine"].items())
    page = _between(page, "figures", f"{machine}\n\n{render([Row(**row) for row in results['rows']])}")
    if results.get("profiles"):
        page = _between(page, "profile", render_profiles(results["profiles"]))
    return page


def _between(page: str, name: str, text: str) -> str:
    """Replace the text between the comments NAME and end of NAME."""
    pattern = re.compile(f"(<!-- {name} -->\n).*(<!-- end of {name} -->)", re.DOTALL)
    page, count = pattern.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)
    if count != 1:
        raise SystemExit(f"bench.document: write {_PAGE}: the comments around the {name} are missing")
    return page


if __name__ == "__main__":
    main()
