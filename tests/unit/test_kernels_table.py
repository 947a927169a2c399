# SPDX-License-Identifier: Apache-2.0
"""The table of `make test-kernels`; booting kernels is no unit test."""

import json

import pytest

from tests.kernels import results
from tests.kernels.packages import UnavailableError

FEATURES = dict.fromkeys(results._COLUMNS, "yes") | {"kernel": "5.10.0-46-amd64"}
KERNEL = """<testsuites><testsuite>
<testcase classname="tests.kernel.test_a" name="good"/>
<testcase classname="tests.kernel.test_a" name="bad"><failure message="no">trace</failure></testcase>
<testcase classname="tests.kernel.test_a" name="broken"><error message="no">trace</error></testcase>
<testcase classname="tests.kernel.test_a" name="left[1]"><skipped message="no TCX"/></testcase>
<testcase classname="tests.kernel.test_a" name="left[2]"><skipped message="no TCX"/></testcase>
</testsuite></testsuites>"""
CYCLE = (
    '<testsuites><testsuite><testcase classname="tests.e2e.test_path" name="exact"/></testsuite></testsuites>'
)


@pytest.fixture
def directory(tmp_path):
    """What a machine leaves."""
    report = {"selection": ["tests/kernel", "-k", "not slow"], "features": FEATURES}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "kernel.xml").write_text(KERNEL)
    (tmp_path / "cycle.xml").write_text(CYCLE)
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
        "5.10: tests.kernel.test_a::bad",
        "5.10: tests.kernel.test_a::broken",
    ]


def test_a_cycle_that_failed_says_why(directory):
    """The numbers may be right, and a part of the stack too slow for an emulated machine."""
    failed = (
        '><error message="demo.errors.DemoError: cannot send the traffic: not done&#10;more"/></testcase>'
    )
    (directory / "cycle.xml").write_text(CYCLE.replace("/></testsuite>", f"{failed}</testsuite>"))
    row = results.table([results.read("5.10", directory)]).splitlines()[2]

    assert row.endswith("| **no**: cannot send the traffic: not done |")


def test_a_machine_that_ended_early_is_not_a_success(directory):
    """It may have written half of its results."""
    (directory / "kernel.xml").write_text(KERNEL[:100])
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
