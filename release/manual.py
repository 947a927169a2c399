# SPDX-License-Identifier: Apache-2.0
"""The man pages: xdp-otel(1) and one for each command, generated from its parser; xdp-otel.yaml(5)."""

import argparse
import re
from datetime import datetime
from pathlib import Path

from argparse_manpage.manpage import Manpage

from release import manual_of_file, roff
from sidecar import __version__
from sidecar.commands import registry

_SUMMARY = "exact XDP packet counts in OpenTelemetry and Prometheus"
_DOCS = r".I /usr/share/doc/xdp\-otel/docs/"
# `examples:` at the margin, and the indented lines below it.
_PART = re.compile(r"^(\w.*):\n((?: .*\n?|\n(?= ))+)", re.MULTILINE)
# As the help calls it, and as man-pages(7) does.
_HEADINGS = {"exit codes": "exit status"}


def write(directory: Path, when: datetime) -> None:
    """Write each page, dated *when*, into *directory*."""
    for name, text in pages(when).items():
        (directory / name).write_text(text, encoding="utf-8")


def pages(when: datetime) -> dict[str, str]:
    """Return the pages, dated *when*, by the names of their files, such as xdp-otel.1."""
    root = registry.parser()
    (commands,) = (
        action
        for action in root._actions  # noqa: SLF001  # argparse has no public way to them
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    )
    parsers = {name: (f"{root.prog}-{name}", parser) for name, parser in commands.choices.items()}
    # The first page lists the commands; each has a page of its own.
    commands.choices = {}
    related = [*(f"{name} (1)" for name, _ in parsers.values()), f"{manual_of_file.NAME} (5)"]
    found = {f"{root.prog}.1": _page(root, root.prog, _SUMMARY, related, when)}
    for command in registry.COMMANDS:
        name, parser = parsers[command.name]
        found[f"{name}.1"] = _page(parser, name, command.help, [f"{root.prog} (1)"], when)
    return found | {f"{manual_of_file.NAME}.5": manual_of_file.page(when)}


def _page(
    parser: argparse.ArgumentParser, name: str, summary: str, related: list[str], when: datetime
) -> str:
    parts = _PART.findall(parser.epilog or "")
    # Of which Manpage would make one section COMMENTS, with the lines run together.
    parser.epilog = None
    page = Manpage(parser, {"version": __version__, "manual_title": "User Commands"})
    page.prog, page.description, page.source = name, summary, f"xdp-otel {__version__}"
    page.date = roff.date(when)
    for heading, lines in parts:
        page.add_section(_HEADINGS.get(heading, heading), "=", roff.verbatim(lines))
    page.add_section("see also", "=", "\n".join([*(f".BR {roff.escaped(each)}," for each in related), _DOCS]))
    return str(page)
