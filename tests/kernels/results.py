# SPDX-License-Identifier: Apache-2.0
"""What the test machine reported, and the table in bpf/README.md that is made of it."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.kernels.packages import ROOT, UnavailableError

PAGE = ROOT / "bpf/README.md"

_COLUMNS = ("kernel", "program", "attached", "TCX", "batch lookups", "BTF", "reading needs")


@dataclass
class Tests:
    """Results of one run of pytest."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    cause: str = ""
    """Why the last of those failed, in one line."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By the reason."""


@dataclass(frozen=True)
class Report:
    """What one kernel can do, and how its tests ended."""

    name: str
    selection: str
    features: dict[str, str]
    kernel: Tests
    cycle: Tests

    @property
    def is_good(self) -> bool:
        """Whether everything ran and nothing failed."""
        return bool(
            self.kernel.passed and self.cycle.passed and not self.kernel.failed and not self.cycle.failed
        )


def read(name: str, directory: Path) -> Report:
    """Return what the machine wrote to *directory*; raises UnavailableError if it did not get that far."""
    try:
        told = json.loads((directory / "report.json").read_text())
        tests = (_tests(directory / f"{run}.xml") for run in ("kernel", "cycle"))
        return Report(name, shlex.join(told["selection"]), told["features"], *tests)
    except (OSError, ET.ParseError) as error:
        raise UnavailableError(
            f"cannot test kernel {name}: the machine ended early: {error}: look at {directory}/console"
        ) from None


def _tests(path: Path) -> Tests:
    tests = Tests()
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - pytest wrote it
        if (skip := case.find("skipped")) is not None:
            tests.skipped[skip.get("message", "")] += 1
        elif bad := [*case.iter("failure"), *case.iter("error")]:
            tests.cause = bad[0].get("message", "").partition("\n")[0].removeprefix("demo.errors.DemoError: ")
            tests.failed.append(f"{case.get('classname')}::{case.get('name')}")
        else:
            tests.passed += 1
    return tests


def table(reports: Iterable[Report]) -> str:
    """Return the table, with what was run and why tests were skipped below it."""
    heads = (*_COLUMNS, "tests: passed, failed, skipped", "end to end")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    reasons: list[str] = []
    selections: dict[str, list[str]] = {}
    for report in reports:
        cells = [report.features[column] for column in _COLUMNS]
        is_exact = report.cycle.passed and not report.cycle.failed
        cells += [_cell(report.kernel, reasons), "exact" if is_exact else f"**no**: {report.cycle.cause}"]
        lines.append(f"| {' | '.join(cells)} |")
        selections.setdefault(report.selection, []).append(report.name)
    run = [f"- Run on {', '.join(names)}: `{selection}`." for selection, names in selections.items()]
    skipped = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *run, *(["", "Skipped, by the reason:", "", *skipped] if skipped else [])])


def _cell(tests: Tests, reasons: list[str]) -> str:
    numbers = []
    for reason in tests.skipped:
        if reason not in reasons:
            reasons.append(reason)
        numbers.append(f"{tests.skipped[reason]} ({reasons.index(reason) + 1})")
    failed = f"**{len(tests.failed)}**" if tests.failed else "0"
    return f"{tests.passed:,}, {failed}, {' + '.join(numbers) or 0}"


def write(text: str, page: Path = PAGE) -> None:
    """Put the table between its comments in the page."""
    pattern = re.compile(r"(<!-- kernels -->\n).*(<!-- end of kernels -->)", re.DOTALL)
    new, count = pattern.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page.read_text())
    if count != 1:
        raise UnavailableError(f"cannot write {page}: the comments around the table of kernels are missing")
    page.write_text(new)


def failures(reports: Sequence[Report]) -> list[str]:
    """Return one line for each test that failed."""
    return [
        f"{report.name}: {test}"
        for report in reports
        for test in (*report.kernel.failed, *report.cycle.failed)
    ]
