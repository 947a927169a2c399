# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks leave behind: bench/results.json and the generated parts of docs/performance.md."""

import json
import re

import pytest

from bench import profile
from bench.document import filled
from bench.place import HERE, lacking
from bench.table import Goal, Row, Samples, missing, row

PROMISED = {"name", "value", "unit", "reference", "ratio", "goal", "met"}
RESULTS = json.loads((HERE / "results.json").read_text())
PAGE = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb\n<!-- profile -->\n<!-- end of profile -->\nc\n"


@pytest.fixture
def found():
    """Results with one row and one profile."""
    rows = [
        row("a", Samples([2.0, 1.0, 3.0]), "ms", "b", 4.0, Goal("ratio", 0.25)),
        missing("c", "ms", "no c"),
    ]
    profiles = {"case": dict.fromkeys((*profile.PARTS, profile.REST, *profile.TOTALS), 2.0)}
    return {"machine": {"cpu": "one"}, "rows": [one.as_json() for one in rows], "profiles": profiles}


def test_a_row_has_the_fields_that_are_promised(found):
    """Who reads results.json finds name, value, unit, reference, ratio, goal and met in each row."""
    for one in found["rows"]:
        assert one.keys() >= PROMISED


def test_a_row_survives_the_file(found):
    """A row read from JSON is the row that was written."""
    again = [Row(**one).as_json() for one in json.loads(json.dumps(found["rows"]))]

    assert again == json.loads(json.dumps(found["rows"]))


@pytest.mark.parametrize("one", RESULTS["rows"], ids=lambda one: one["name"])
def test_each_shipped_figure_agrees_with_itself(one):
    """The ratio is that of value and reference, and `met` says what the goal says of them."""
    assert one.keys() >= PROMISED
    if one["value"] is None:
        assert (one["ratio"], one["met"]) == (None, None)
        assert one["note"].startswith("not measured: ")
        return
    if one["ratio"] is not None:
        ratios = (one["value"] / one["reference"], one["reference"] / one["value"])
        assert one["ratio"] in [pytest.approx(ratio) for ratio in ratios]
    if one["met"] is not None:
        sign, limit, unit = re.fullmatch(r"([≤≥]) ([\d.,]+) ?(.*)", one["goal"].strip()).groups()
        measured = one["ratio"] if unit == "x" else one["value"]
        limit = float(limit.replace(",", ""))
        assert one["met"] is (measured <= limit if sign == "≤" else measured >= limit)


def test_the_generated_parts_of_the_page_are_replaced(found):
    """Figures and profile go between their comments; all else stays."""
    page = filled(PAGE, found)

    assert "old" not in page
    assert "| a | 2 ms |" in page
    assert "not measured: no c" in page
    assert "| read | 2 ms, 100% |" in page
    assert page.startswith("a\n<!-- figures -->\n")
    assert "<!-- end of figures -->\nb\n<!-- profile -->\n" in page
    assert page.endswith("<!-- end of profile -->\nc\n")
    assert filled(page, found) == page


def test_a_page_without_the_comments_is_refused(found):
    """Nothing is written into a page that has no place for it."""
    with pytest.raises(SystemExit, match="comments around the figures"):
        filled("nothing", found)


def test_what_no_part_of_a_cycle_has_is_the_rest():
    """The parts and the rest make up the whole, and the medians of several cycles are taken."""
    cycles = [
        {"read": 0.001 * at, "whole": 0.01, "wall": 0.02, "between": 0.0, "begun": 0.0} for at in (1, 3, 8)
    ]

    summed = profile.summed_up(cycles)

    assert summed["read"] == pytest.approx(3)
    assert summed["journal"] == 0
    assert summed[profile.REST] == pytest.approx(7)
    assert summed["whole"] == pytest.approx(10)


def test_a_command_that_is_not_there_is_named():
    """A figure that needs a program says which one to install."""
    assert lacking("sh") == ""
    assert lacking("sh", "no-such-program") == "no no-such-program on PATH: install it"
