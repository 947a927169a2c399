# SPDX-License-Identifier: Apache-2.0
"""What the test machine reported, and the table in bpf/README.md that is made of it."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels import record
from tests.kernels.packages import ROOT, UnavailableError

PAGE = ROOT / "bpf/README.md"

_END_TO_END = "tests/e2e/"
_COLUMNS = ("kernel", "program", "attached", "TCX", "batch lookups", "BTF", "reading needs")


@dataclass
class Tests:
    """Results of tests; of one that ran again, the last."""

    passed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Why, in one line, by test."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By the reason."""


@dataclass(frozen=True)
class Report:
    """What one kernel can do, and how its tests ended."""

    name: str
    selections: tuple[str, ...]
    features: dict[str, str]
    kernel: Tests
    cycle: Tests
    ended: bool
    """Whether the last run got to its end."""

    @property
    def is_good(self) -> bool:
        """Whether something ran, to the end, and nothing failed."""
        ran = self.kernel.passed + self.cycle.passed
        return bool(self.ended and ran and not self.kernel.failed and not self.cycle.failed)


def read(name: str, directory: Path) -> Report:
    """Return what the machine wrote to *directory*; raises UnavailableError if it got to no test."""
    try:
        told = json.loads((directory / "report.json").read_text())
        lines = (directory / record.NAME).read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"cannot test kernel {name}: the machine ended early: {error}: look at {directory}/console"
        ) from None
    last = {result["test"]: result for result in map(json.loads, lines)}
    kernel = _tests(result for test, result in last.items() if not test.startswith(_END_TO_END))
    cycle = _tests(result for test, result in last.items() if test.startswith(_END_TO_END))
    selections = tuple(map(shlex.join, told["selections"]))
    return Report(name, selections, told["features"], kernel, cycle, told["ended"])


def _tests(outcomes: Iterable[dict[str, str]]) -> Tests:
    tests = Tests()
    for result in outcomes:
        match result["outcome"]:
            case "passed":
                tests.passed += 1
            case "skipped":
                tests.skipped[result["reason"]] += 1
            case _:
                tests.failed[result["test"]] = result["reason"].removeprefix("demo.errors.DemoError: ")
    return tests


def table(reports: Iterable[Report]) -> str:
    """Return the table, with what was run and why tests were skipped below it."""
    heads = (*_COLUMNS, "tests: passed, failed, skipped", "end to end")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    reasons: list[str] = []
    selections: dict[str, list[str]] = {}
    for report in reports:
        cells = [report.features[column] for column in _COLUMNS]
        cells += [_cell(report.kernel, reasons), _end_to_end(report.cycle)]
        lines.append(f"| {' | '.join(cells)} |")
        for number, selection in enumerate(report.selections, 1):
            is_whole = report.ended or number < len(report.selections)
            what = f"`{selection}`" if is_whole else f"`{selection}`, not to its end"
            selections.setdefault(what, []).append(report.name)
    run = [f"- Run on {', '.join(names)}: {what}." for what, names in selections.items()]
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


def _end_to_end(cycle: Tests) -> str:
    if cycle.failed:
        return f"**no**: {', '.join(cycle.failed.values())}"
    return "exact" if cycle.passed else "not run"


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
        f"{report.name}: {test}: {cause}"
        for report in reports
        for test, cause in (report.kernel.failed | report.cycle.failed).items()
    ]
