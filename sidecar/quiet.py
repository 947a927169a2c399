# SPDX-License-Identifier: Apache-2.0
"""
Which series may be left out of a batch, so that the cost follows what changed (pure).

A series that counted nothing has nothing to say: its next window starts where its last one ended, and its
base point ends there. But it must be said now and then, or a Collector forgets it (`max_stale`,
`metric_expiration`: 24 h here), and one that was restarted unnoticed does not show it.
"""

from collections.abc import Sequence
from typing import Any

from sidecar.columnar import LARGE
from sidecar.model import Series
from sidecar.schema import Kind, Schema

LONGEST_NS = 600 * 10**9
"""A series is said at least this often, ns."""


def may_be(schema: Schema, count: int) -> bool:
    """Return whether series may be left out: of a source with many; gauges hold only while they are said."""
    return count > LARGE and all(one.kind in (Kind.COUNTER, Kind.UPDOWNCOUNTER) for one in schema.instruments)


def is_due(number: Any, start_ns: Any, end_ns: Any) -> Any:
    """
    Return whether a series is to be said whatever it counted in (start_ns, end_ns]; arrays do as well.

    Each series has its own moment by its *number*, so that they do not all come at once.
    """
    moment = number * 2_654_435_761 % 2**32 * (LONGEST_NS >> 32)
    return ((end_ns + moment) // LONGEST_NS > (start_ns + moment) // LONGEST_NS) | (
        end_ns - start_ns >= LONGEST_NS
    )


def to_say(series: Sequence[Series]) -> list[Series]:
    """Return those that counted something, that the Collector is not known to have, or that are due."""
    return [
        one
        for number, one in enumerate(series)
        if any(one.counts) or not one.settled_ns or is_due(number, one.start_ns, one.end_ns)
    ]
