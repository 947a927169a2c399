# SPDX-License-Identifier: Apache-2.0
"""The search itself: what a seed decides, and what is said of what it finds."""

from collections import Counter
from itertools import islice

import pytest

from tests import explore
from tests.waiting import answered

PROPERTIES = ["tests/wire/test_a.py::test_a", "tests/unit/test_b.py::test_b"]


def drawn(seed, number=40):
    return list(islice(explore._examples(list(PROPERTIES), seed), number))


def test_a_seed_decides_all_and_another_decides_otherwise():
    """The same searches in the same order, each with an own seed; what is on the wire comes more often."""
    one = drawn(1)
    tests = Counter(search.test for search in one)

    assert one == drawn(1)
    assert one != drawn(2)
    assert len({search.seed for search in one}) == len(one)
    assert tests[PROPERTIES[0]] == 4 * tests[PROPERTIES[1]] > 0


def test_the_model_goes_one_deeper_when_all_of_it_was_searched():
    """Every bound of it once, then every bound at the next depth."""
    searches = list(islice(explore._bounds(["a", "b", "c"], 1), 6))

    assert [search.depth for search in searches] == [1, 1, 1, 2, 2, 2]
    assert {search.test for search in searches[:3]} == {"a", "b", "c"}


@pytest.mark.parametrize(("claim", "is_wrong"), [("1 == 2", True), ("True", False)])
def test_what_is_found_is_told_with_how_to_see_it_again(tmp_path, capsys, claim, is_wrong):
    """A test that fails is found; its output and its command are printed."""
    file = tmp_path / "test_it.py"
    file.write_text(f"def test_it():\n    print('3 states,')\n    assert {claim}\n")
    running, searched = explore.Running(explore.Search(str(file), 0, depth=2)), Counter()
    answered(lambda: running.exit_code() is not None)
    found = explore._has_failed(running, searched)
    printed = capsys.readouterr().out

    assert found == is_wrong
    assert searched["searches"] == 1
    assert is_wrong or searched["states"] == 3
    assert (f"MODEL_DEPTH=2 .venv/bin/python -m pytest '{file}'" in printed) == is_wrong
    assert ("assert 1 == 2" in printed) == is_wrong


@pytest.mark.parametrize("name", ["EXPLORE_SECONDS", "EXPLORE_SEED", "EXPLORE_JOBS"])
def test_a_setting_that_is_no_number_is_one_line(monkeypatch, capsys, name):
    """Usage, exit code 2."""
    monkeypatch.setenv(name, "soon")
    monkeypatch.setattr("demo.interruption.listen", lambda: None)

    assert explore.main() == 2
    assert capsys.readouterr().out.count("\n") == 1
