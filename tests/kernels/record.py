# SPDX-License-Identifier: Apache-2.0
"""
A plugin for pytest in the test machine: each result is written as soon as it is there.

So a machine that ends early loses none, and a later run can add to what an earlier one found.
"""

import json
import os
from pathlib import Path

VARIABLE = "XDP_OTEL_TEST_RECORD"
NAME = "tests.jsonl"
"""Of the file; the last line about a test is the one that counts."""


def pytest_runtest_logreport(report):
    """Append the result of a test, and what went wrong in its setup or teardown."""
    if report.when == "call" or not report.passed:
        line = {"test": report.nodeid, "outcome": report.outcome, "reason": _reason(report)}
        with Path(os.environ[VARIABLE]).open("a") as record:
            record.write(json.dumps(line) + "\n")


def _reason(report):
    """Return why a test was skipped or has failed, in one line."""
    if report.skipped:
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.partition("\n")[0] if crash else ""
