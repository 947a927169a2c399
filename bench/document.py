# SPDX-License-Identifier: Apache-2.0
"""Put the figures of bench/results.json into docs/performance.md: `python -m bench.document`."""

import json
import re

from bench.place import HERE, ROOT
from bench.table import Row, render

_PAGE = ROOT / "docs/performance.md"
_BETWEEN = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)


def main() -> None:
    """Replace what stands between the two comments."""
    found = json.loads((HERE / "results.json").read_text())
    machine = "; ".join(f"{name}: {value}" for name, value in found["machine"].items())
    figures = f"\n{machine}\n\n{render([Row(**one) for one in found['rows']])}\n\n"
    page, count = _BETWEEN.subn(lambda match: match[1] + figures + match[2], _PAGE.read_text())
    if count != 1:
        raise SystemExit(f"bench.document: write {_PAGE}: the comments around the figures are missing")
    _PAGE.write_text(page)


if __name__ == "__main__":
    main()
