# SPDX-License-Identifier: Apache-2.0
"""Log what lasts: when it begins, when its reason changes, once a minute while it lasts, and when it ends."""

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from sidecar.log_fields import about

log = logging.getLogger(__name__)

REPEAT_S = 60.0
# Cycles come a moment early or late.
_SLACK_S = 0.5
# Each may have a line of its own in a minute: more are logged together, as the newest of them.
_MOST_REASONS = 8


@dataclass
class _Condition:
    """Something that holds; times are those of `Ongoing`'s clock."""

    since: float
    tries: int = 0
    logged: dict[str, float] = field(default_factory=dict)


class Ongoing:
    """
    The conditions that hold at the moment, each under a key that its caller chooses.

    Call `holds` in each cycle (or at each try) in which the condition holds, `ended` in each in which it does
    not; both cost next to nothing when there is nothing to log:

        try:
            read()
        except SidecarError as error:
            ongoing.holds(("read", name), str(error), source=name, level=logging.ERROR)
        else:
            ongoing.ended(("read", name), "read again", source=name)

    yields, with a cycle every 10 s:

        ERROR pin:/x: cannot read map x: EPERM …                           at once
        ERROR pin:/x: still (60 s, 7 tries): cannot read map x: EPERM …    each minute
        ERROR pin:/x: cannot read map x: ENOMEM …                          at once: another reason
        INFO pin:/x: read again (after 90 s, 9 tries)
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing that holds; *now* is a monotonic clock, seconds."""
        self._now = now
        self._conditions: dict[Hashable, _Condition] = {}

    def holds(
        self, key: Hashable, text: str, *, reason: str = "", source: str = "", level: int = logging.WARNING
    ) -> None:
        """
        Log *text* if the condition is new, has a new reason, or was last logged a minute ago.

        Args:
            key: Which condition.
            text: The line.
            reason: What of the text tells one reason from another, if not all of it: no numbers that differ
                at each try.
            source: The name of the source, if it is about one.
            level: The level of the line.

        """
        now = self._now()
        condition = self._conditions.setdefault(key, _Condition(now))
        condition.tries += 1
        logged, reason = condition.logged, reason or text
        if not self._is_due(condition, reason, now):
            return
        lasted_s = now - condition.since
        still = f"still ({_duration(lasted_s)}, {_tries(condition.tries)}): " if reason in logged else ""
        fields = about(source, lasted_s=round(lasted_s, 1), tries=condition.tries)
        log.log(level, "%s%s", still, text, extra=fields)
        if len(logged) >= _MOST_REASONS:
            logged.clear()
        logged[reason] = now

    def ended(self, key: Hashable, text: str = "", *, source: str = "") -> bool:
        """Log *text*, unless it is empty, if the condition held until now; return whether it did."""
        condition = self._conditions.pop(key, None)
        if condition and text:
            lasted_s = self._now() - condition.since
            fields = about(source, lasted_s=round(lasted_s, 1), tries=condition.tries)
            log.info("%s (after %s, %s)", text, _duration(lasted_s), _tries(condition.tries), extra=fields)
        return condition is not None

    def _is_due(self, condition: _Condition, reason: str, now: float) -> bool:
        logged = condition.logged
        if reason not in logged and len(logged) < _MOST_REASONS:
            return True
        last = logged.get(reason, max(logged.values()))
        return now - last >= REPEAT_S - _SLACK_S


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _tries(number: int) -> str:
    return "1 try" if number == 1 else f"{number:,} tries"
