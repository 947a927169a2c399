# SPDX-License-Identifier: Apache-2.0
"""The commands in a document: the lines of its blocks marked `sh`, in their order."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(file, until=None):
    """
    Return the lines that a reader types, comment lines included.

    A line that ends with a backslash is joined with the next. *until* is a heading: what is under it and the
    ones after it is left out.
    """
    text = (ROOT / file).read_text()
    if until:
        assert f"\n## {until}\n" in text, f"{file} has no heading {until!r}"
        text = text.partition(f"\n## {until}\n")[0]
    blocks = "".join(_BLOCK.findall(text))
    return [line for line in blocks.replace("\\\n", "").splitlines() if line]
