# SPDX-License-Identifier: Apache-2.0
import errno
from pathlib import Path

import pytest

from sidecar.counts import delta
from sidecar.model import Baseline, MapIdentity, Snapshot, Temporality
from sidecar.state import lost_journal
from sidecar.state.lost_journal import ReportedMaps, first_baseline
from tests.packet_counter import FIELDS, SCHEMA, reading

IDENTITY = MapIdentity("boot", 41, 6, 4, 64, 1)
SNAPSHOT = Snapshot(IDENTITY, 1000, 5000, reading([7] * len(FIELDS)))


@pytest.mark.parametrize(
    ("temporality", "reported_since_ns", "counts", "start_ns"),
    [
        (Temporality.DELTA, None, 7, 1000),
        (Temporality.DELTA, 300, 0, 5000),
        (Temporality.DELTA_WITH_BASE, None, 0, 1000),
        (Temporality.DELTA_WITH_BASE, 300, 0, 300),
        (Temporality.CUMULATIVE, None, 7, 1000),
        (Temporality.CUMULATIVE, 300, 7, 300),
    ],
)
def test_what_a_map_holds_is_reported_once(temporality, reported_since_ns, counts, start_ns):
    """A delta leaves out what a marked map held; totals go on in the series that the mark names."""
    baseline = first_baseline(SNAPSHOT, SCHEMA, temporality, reported_since_ns)
    (series,) = delta.advance(baseline, [SNAPSHOT], SCHEMA).series

    assert set(series.counts) == {counts}
    assert baseline.start_time_ns == start_ns


def test_each_map_is_marked_once(monkeypatch, caplog):
    """A mark that fails is only logged: the counts are exact unless the state directory is lost too."""
    marks = []

    def mark(map_id, start_time_ns, state_dir):
        marks.append((map_id, start_time_ns, state_dir))
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr(lost_journal.reported, "mark", mark)
    maps = ReportedMaps(Path("/state"))
    for _ in range(2):
        maps.mark([Baseline(300, 400, {IDENTITY: SNAPSHOT.reading}, tuple(FIELDS))])

    assert marks == [(41, 300, Path("/state"))]
    assert [message.split(":")[0] for message in caplog.messages] == [
        "cannot mark map id 41 as reported in bpffs"
    ]
