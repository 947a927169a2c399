# SPDX-License-Identifier: Apache-2.0
"""Text in the language of man pages, man(7)."""

import textwrap
from datetime import datetime


def escaped(text: str) -> str:
    """Return *text* as groff prints it, hyphens as what a shell understands."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def verbatim(lines: str) -> str:
    """Return *lines* as they are, without their common indentation."""
    # \& keeps a line that begins with a dot or a quote from being a request.
    shown = (rf"\&{escaped(line)}" for line in textwrap.dedent(lines).rstrip().splitlines())
    return "\n".join([".nf", *shown, ".fi"])


def date(when: datetime) -> str:
    """Return a date without hyphens, which mandoc knows for a date even where they are escaped."""
    return f"{when:%B} {when.day}, {when.year}"
