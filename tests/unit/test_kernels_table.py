# SPDX-License-Identifier: Apache-2.0
"""The table of `make test-kernels`; booting kernels is no unit test."""

import json

import pytest

from tests.kernels import results
from tests.kernels.packages import UnavailableError

FEATURES = dict.fromkeys(results._COLUMNS, "yes") | {"kernel": "5.10.0-46-amd64"}
RESULTS = [
    ("tests/kernel/test_a.py::good", "passed", ""),
    ("tests/kernel/test_a.py::bad", "failed", "no"),
    ("tests/kernel/test_a.py::broken", "passed", ""),
    ("tests/kernel/test_a.py::broken", "failed", "in its teardown"),
    ("tests/kernel/test_a.py::left[1]", "skipped", "no TCX"),
    ("tests/kernel/test_a.py::left[2]", "skipped", "no TCX"),
    ("tests/e2e/test_path.py::exact", "passed", ""),
]
SELECTION = ["tests/kernel", "-k", "not slow"]


def record(directory, *more):
    lines = [
        json.dumps(dict(zip(("test", "outcome", "reason"), line, strict=True))) for line in [*RESULTS, *more]
    ]
    (directory / "tests.jsonl").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def directory(tmp_path):
    """What a machine leaves."""
    report = {"selections": [SELECTION], "features": FEATURES, "ended": True}
    (tmp_path / "report.json").write_text(json.dumps(report))
    record(tmp_path)
    return tmp_path


def test_each_kernel_has_a_row_and_each_reason_a_number(directory):
    """Passed, failed and skipped are counted; the reason is told once."""
    report = results.read("5.10", directory)
    text = results.table([report, report])

    assert text.splitlines()[2] == text.splitlines()[3]
    assert text.splitlines()[2].startswith("| 5.10.0-46-amd64 | yes |")
    assert text.splitlines()[2].endswith("| 1, **2**, 2 (1) | exact |")
    assert text.splitlines()[5] == "- Run on 5.10, 5.10: `tests/kernel -k 'not slow'`."
    assert text.splitlines()[-1] == "1. no TCX"
    assert not report.is_good
    assert results.failures([report]) == [
        "5.10: tests/kernel/test_a.py::bad: no",
        "5.10: tests/kernel/test_a.py::broken: in its teardown",
    ]


def test_of_a_test_that_ran_again_the_last_result_counts(directory):
    """With --keep a run adds to an earlier one."""
    record(directory, *((f"tests/kernel/test_a.py::{name}", "passed", "") for name in ("bad", "broken")))
    report = results.read("5.10", directory)

    assert report.is_good
    assert report.kernel.passed == 3


def test_a_cycle_that_failed_says_why(directory):
    """The numbers may be right, and a part of the stack too slow for an emulated machine."""
    cause = "demo.errors.DemoError: cannot send the traffic: not done"
    record(directory, ("tests/e2e/test_path.py::exact", "failed", cause))
    row = results.table([results.read("5.10", directory)]).splitlines()[2]

    assert row.endswith("| **no**: cannot send the traffic: not done |")


def test_a_machine_that_ended_early_is_not_a_success(directory):
    """What it wrote until then counts, and the table says that there was more."""
    told = {"selections": [SELECTION], "features": FEATURES, "ended": False}
    (directory / "report.json").write_text(json.dumps(told))
    record(directory, *((f"tests/kernel/test_a.py::{name}", "passed", "") for name in ("bad", "broken")))
    report = results.read("5.10", directory)

    assert not report.is_good
    assert "- Run on 5.10: `tests/kernel -k 'not slow'`, not to its end." in results.table([report])


def test_a_machine_that_got_to_no_test_is_named(directory):
    """Its console may tell why."""
    (directory / "tests.jsonl").unlink()
    with pytest.raises(
        UnavailableError, match=r"cannot test kernel 5.10: the machine ended early: .*/console"
    ):
        results.read("5.10", directory)


def test_the_table_replaces_the_last_one(tmp_path):
    """Between its comments, and nothing else."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- kernels -->\nold\n<!-- end of kernels -->\nafter\n")
    results.write("| new |", page)

    assert page.read_text() == "before\n<!-- kernels -->\n\n| new |\n\n<!-- end of kernels -->\nafter\n"
    page.write_text("without comments")
    with pytest.raises(UnavailableError, match="the comments around the table of kernels are missing"):
        results.write("| new |", page)
