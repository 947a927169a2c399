# SPDX-License-Identifier: Apache-2.0
"""A field that is read under another name goes on counting."""

from sidecar.counts import fields
from sidecar.model import Baseline, Column, Field, MapIdentity, Reading

IDENTITY = MapIdentity("boot", 1, 1, 4, 16, 1)
OLD = (Field("packets", 0), Field("bytes", 64))


def test_a_field_is_known_by_its_bits():
    """The same bits of the value under another name; not if the name is still used, or the bits differ."""
    assert fields.new_names(OLD, (Field("frames", 0), Field("bytes", 64))) == {"packets": "frames"}
    assert fields.new_names(OLD, (Field("bytes", 0), Field("packets", 64))) == {}
    assert fields.new_names(OLD, (Field("frames", 0, bits=32), Field("bytes", 64))) == {}
    assert fields.new_names(OLD, OLD) == {}


def test_a_baseline_is_renamed():
    """Its readings and its totals; the numbers stay."""
    cells = {bytes(4): (7, 8)}
    baseline = Baseline(
        1, 2, {IDENTITY: Reading((Column("packets"), Column("bytes")), cells)}, ("packets", "bytes")
    )

    renamed = fields.renamed(baseline, {"packets": "frames"})

    assert renamed.fields == ("frames", "bytes")
    assert renamed.maps[IDENTITY] == Reading((Column("frames"), Column("bytes")), cells)
    assert fields.renamed(baseline, {}) is baseline
