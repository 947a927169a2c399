# SPDX-License-Identifier: Apache-2.0
"""The man pages: xdp-otel(1) and one for each command, generated from its parser."""

import argparse
import re
import textwrap
from datetime import datetime
from pathlib import Path

from argparse_manpage.manpage import Manpage

from sidecar import __version__
from sidecar.commands import registry

_SUMMARY = "exact XDP packet counts in OpenTelemetry and Prometheus"
_DOCS = r".I /usr/share/doc/xdp\-otel/docs/"
# `examples:` at the margin, and the indented lines below it.
_PART = re.compile(r"^(\w.*):\n((?: .*\n?|\n(?= ))+)", re.MULTILINE)
# As the help calls it, and as man-pages(7) does.
_HEADINGS = {"exit codes": "exit status"}


def write(directory: Path, when: datetime) -> None:
    """Write NAME.1 for each page, dated *when*, into *directory*."""
    for name, text in pages(when).items():
        (directory / f"{name}.1").write_text(text, encoding="utf-8")


def pages(when: datetime) -> dict[str, str]:
    """Return the pages, dated *when*, by their names."""
    root = registry.parser()
    (commands,) = (
        action
        for action in root._actions  # noqa: SLF001  # argparse has no public way to them
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    )
    parsers = {name: (f"{root.prog}-{name}", parser) for name, parser in commands.choices.items()}
    # The first page lists the commands; each has a page of its own.
    commands.choices = {}
    found = {root.prog: _page(root, root.prog, _SUMMARY, [name for name, _ in parsers.values()], when)}
    for command in registry.COMMANDS:
        name, parser = parsers[command.name]
        found[name] = _page(parser, name, command.help, [root.prog], when)
    return found


def _page(
    parser: argparse.ArgumentParser, name: str, summary: str, related: list[str], when: datetime
) -> str:
    parts = _PART.findall(parser.epilog or "")
    # Of which Manpage would make one section COMMENTS, with the lines run together.
    parser.epilog = None
    page = Manpage(parser, {"version": __version__, "manual_title": "User Commands"})
    page.prog, page.description, page.source = name, summary, f"xdp-otel {__version__}"
    # With hyphens, which Manpage escapes, mandoc would not know it for a date.
    page.date = f"{when:%B} {when.day}, {when.year}"
    for heading, lines in parts:
        page.add_section(_HEADINGS.get(heading, heading), "=", _verbatim(lines))
    page.add_section("see also", "=", "\n".join([*(f".BR {_escaped(each)} (1)," for each in related), _DOCS]))
    return str(page)


def _verbatim(lines: str) -> str:
    # \& keeps a line that begins with a dot or a quote from being a request.
    shown = (rf"\&{_escaped(line)}" for line in textwrap.dedent(lines).rstrip().splitlines())
    return "\n".join([".nf", *shown, ".fi"])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")
