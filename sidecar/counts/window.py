# SPDX-License-Identifier: Apache-2.0
"""The result of taking one source a window further."""

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.model import Baseline, Fall, Series, Snapshot


class NextWindow(NamedTuple):
    """
    The next window of one source, and the baseline that holds after it.

    Attributes:
        series: Each series that has a key, including those that counted nothing.
        to_export: The series to export, in the order of *series*.
        baseline: The baseline once the window is acknowledged.
        snapshots: The readings behind the window, without those that were reported before.
        emptied: Keys whose entry was emptied within one map (`resets`).
        vanished: Keys that are no longer in the map.
        overflowed: Number of series beyond the limit, aggregated into the overflow series.
        forgotten: Number of series without a key that were evicted for new ones.
        fallen: Number of counters that fell while others of their entry did not.
        falls: One example for each field of such counters.
        gone: Encoded attributes of the series that had a key in the last window and have none now; empty
            unless some instrument is exported as a gauge, whose last value would be served forever.

    """

    series: Sequence[Series]
    to_export: Sequence[Series]
    baseline: Baseline
    snapshots: Sequence[Snapshot] = ()
    emptied: tuple[bytes, ...] = ()
    vanished: tuple[bytes, ...] = ()
    overflowed: int = 0
    forgotten: int = 0
    fallen: int = 0
    falls: tuple[Fall, ...] = ()
    gone: tuple[bytes, ...] = ()
