# SPDX-License-Identifier: Apache-2.0
from sidecar.describe.prometheus_names import label, make_distinct, metric


def test_names_that_are_the_same_in_prometheus_are_numbered():
    """The first keeps its name, and numbers that are taken are skipped."""
    assert list(make_distinct(["a.b", "a_b", "a_b_2", "c", "a-b"], label)) == [
        "a.b",
        "a_b_2",
        "a_b_2_2",
        "c",
        "a-b_3",
    ]
    assert list(make_distinct(["m.a_b", "m.a.b"], metric)) == ["m.a_b", "m.a.b_2"]
