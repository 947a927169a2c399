# SPDX-License-Identifier: Apache-2.0
"""What lasts is logged at once, when its reason changes, once a minute, and when it ends."""

import logging

import pytest

from sidecar.observe.ongoing import Ongoing


@pytest.fixture
def play(caplog):
    """Return a function that tries every 10 s, each time with that reason, or well; it returns (s, line)."""
    caplog.set_level(logging.INFO)

    def played(*reasons, every_s=10.0):
        now, lines = 0.0, []
        ongoing = Ongoing(lambda: now)
        for reason in reasons:
            caplog.clear()
            if reason:
                ongoing.holds("read", f"cannot read: {reason}", source="pin")
            else:
                ongoing.ended("read", "read again", source="pin")
            lines += [(now, record.levelname, record.getMessage()) for record in caplog.records]
            assert all(record.source == "pin" for record in caplog.records)
            now += every_s
        return lines

    return played


def test_a_failure_is_logged_at_once_each_minute_and_when_it_ends(play):
    """Twenty failed cycles are four lines, and the end is a fifth."""
    assert play(None, *["EPERM"] * 20, None, None) == [
        (10, "WARNING", "cannot read: EPERM"),
        (70, "WARNING", "still (60 s, 7 tries): cannot read: EPERM"),
        (130, "WARNING", "still (2 min, 13 tries): cannot read: EPERM"),
        (190, "WARNING", "still (3 min, 19 tries): cannot read: EPERM"),
        (210, "INFO", "read again (after 3 min, 20 tries)"),
    ]


def test_a_new_reason_is_logged_at_once(play):
    """The minute counts from the line of each reason."""
    assert play("EPERM", "ENOMEM", *["EPERM"] * 6) == [
        (0, "WARNING", "cannot read: EPERM"),
        (10, "WARNING", "cannot read: ENOMEM"),
        (60, "WARNING", "still (60 s, 7 tries): cannot read: EPERM"),
    ]


def test_a_failure_that_comes_back_is_new(play):
    """Nothing is remembered of one that ended."""
    assert play("EPERM", None, "EPERM", None) == [
        (0, "WARNING", "cannot read: EPERM"),
        (10, "INFO", "read again (after 10 s, 1 try)"),
        (20, "WARNING", "cannot read: EPERM"),
        (30, "INFO", "read again (after 10 s, 1 try)"),
    ]


def test_a_reason_that_always_differs_does_not_flood_the_log(play):
    """The peer may put anything into its refusals."""
    assert len(play(*map(str, range(3600)), every_s=1)) <= 60 * 9


def test_cycles_that_come_a_moment_early_do_not_skip_a_minute(play):
    """The clock of a cycle is only exact to a few milliseconds."""
    assert [at for at, *_ in play(*["EPERM"] * 13, every_s=9.999)] == pytest.approx([0, 59.994, 119.988])


def test_the_reason_may_be_less_than_the_line(caplog):
    """A line may hold numbers that differ each time."""
    ongoing = Ongoing(lambda: 0.0)
    for tries in range(5):
        ongoing.holds("send", f"not acknowledged: try {tries}", reason="not acknowledged")

    assert caplog.messages == ["not acknowledged: try 0"]
