# SPDX-License-Identifier: Apache-2.0
"""Maps that libbpf creates without BTF are read by their declaration in the program's."""

import json
import subprocess

import pytest

from demo.bpf_commands import prog_test_run
from sidecar.kernel import syscall as bpf
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.user_program import xdp_otel

COUNTS = {"packets": 5, "drops": 6, "errors": 7}


@pytest.fixture
def declared(tmp_path, cleanup, make_pin):
    """The maps of maps/declared.bpf.c, filled: name → (descriptor, pin)."""
    loaded = cleanup.enter_context(Loaded(compile_object(MAPS / "declared.bpf.c", tmp_path / "declared.o")))
    prog_test_run(loaded.programs["fill"], bytes(64))
    return {name: (fd, make_pin(fd)) for name, fd in loaded.maps.items()}


def rows(*arguments):
    return json.loads(xdp_otel("dump", "--json", *arguments))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("enum_key", COUNTS),
        ("a_struct_as_key_and_a_long_name", {"value": 3}),
        ("no_key_type", COUNTS),
        ("annotated", COUNTS),
    ],
)
def test_a_map_without_btf_is_read_as_its_program_declares_it(declared, tmp_path, name, fields):
    """Without a configuration and with a written one, with a layout or not: the same series."""
    fd, pin = declared[name]
    assert bpf.map_info(fd).btf_value_type_id == 0
    read = rows("--map-path", pin)
    assert [row["fields"] for row in read] == [fields]
    for more in ((), ("--with-layout",)):
        config = tmp_path / "written.yaml"
        config.write_text(xdp_otel("discover", "--write-config", pin, *more))
        written = rows("--config", config)
        assert [(row["attributes"], row["fields"]) for row in written] == [
            (row["attributes"], row["fields"]) for row in read
        ]


def test_what_no_program_declares_stays_unknown(declared):
    """Sizes alone have no fields."""
    refused = xdp_otel("dump", "--map-path", declared["sizes_alone"][1], code=3)
    assert "it has no BTF" in refused


def test_a_written_layout_is_not_compared_with_a_declaration(declared, tmp_path):
    """Whoever had to describe such a map may have named its fields at will."""
    pin = declared["enum_key"][1]
    config = tmp_path / "own.yaml"
    config.write_text(f"sources: [{{pin: {pin}, layout: {{value: {{mine: u64, lost: u32, bad: u32}}}}}}]\n")
    assert [row["fields"] for row in rows("--config", config)] == [{"mine": 5, "lost": 6, "bad": 7}]


def test_a_pin_in_another_bpffs_keeps_its_path(declared, tmp_path, cleanup, make_pin):
    """As bpfman's /run/bpfman/fs, also where the map has a pin in /sys/fs/bpf too."""
    other = tmp_path / "fs"
    other.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", other], check=True)
    cleanup.callback(subprocess.run, ["umount", other], check=True)
    fd, first = declared["enum_key"]
    pin = make_pin(fd, other / "stats")
    link = tmp_path / "link"
    link.symlink_to(other)
    for path in (first, pin, link / "stats"):
        assert f"pin: {path}\n" in xdp_otel("discover", "--write-config", path)
    (found,) = [
        one for one in json.loads(xdp_otel("discover", "--json", "--all"))["maps"] if str(pin) in one["pins"]
    ]
    assert str(first) in found["pins"]
