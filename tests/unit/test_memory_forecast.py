# SPDX-License-Identifier: Apache-2.0
"""What the readings of a map may take is said before the first one."""

import pytest

from sidecar.kernel import uapi
from sidecar.kernel.syscall import MapInfo
from sidecar.model import Field, Layout
from sidecar.schema import Instrument, Schema
from sidecar.sources.memory_forecast import forecast


def warning(*bits, entries=100_000, cpus=512, of=uapi.MAP_PERCPU_HASH, cpu=None):
    fields = tuple(Field(f"f{at}", 64 * at, each) for at, each in enumerate(bits))
    instruments = tuple(Instrument(field.name, "1", "", field.name) for field in fields)
    schema = Schema("flows", Layout(8 * len(bits), fields), instruments, lambda _: (), cpu=cpu)
    return forecast(MapInfo(5, of, "flows", 4, 8 * len(bits), entries, 0, 0, 0), schema, cpus)


def test_narrow_fields_on_many_cpus_are_warned_of():
    """With the figure, what makes it, and what to do."""
    assert warning(32) == (
        "reading map flows may take 1,367 MiB of memory once it is full: 1 field of less than 64 bits, which "
        "may wrap, for each of 100,000 entries on each of 512 possible CPUs: count in 64 bits, make the map "
        "smaller, or name only the fields that you need under `metrics:`"
    )
    assert "may take 2,734 MiB" in warning(32, 64, 16)
    assert "2 fields" in warning(32, 64, 16)


@pytest.mark.parametrize(
    "given",
    [
        {"bits": (64, 64)},
        {"bits": (32,), "entries": 10_000},
        {"bits": (32,), "cpus": 16},
        {"bits": (32,), "of": uapi.MAP_HASH},
        {"bits": (32,), "cpu": "cpu"},
    ],
)
def test_nothing_is_said_where_there_is_one_number_for_each_field_or_few_entries(given):
    """Sums of 64 bits are made while reading."""
    assert warning(*given.pop("bits"), **given) == ""
