# SPDX-License-Identifier: Apache-2.0
"""Maps that a pattern of pins or names chooses come and go while the sidecar runs."""

import os
import shutil
import struct
import uuid
from pathlib import Path

import pytest

from demo.bpf_commands import map_create, map_update
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from tests.kernel.user_program import xdp_otel
from tests.waiting import answered, settled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_on(tmp_path, run):
    """Start the sidecar with a configuration of these sources."""

    def running(*sources):
        config = tmp_path / "sources.yaml"
        config.write_text("sources:\n" + "".join(f"  - {source}\n" for source in sources))
        return run("--config", config)

    return running


@pytest.fixture
def directory(bpffs, cleanup):
    path = bpffs / f"test-{uuid.uuid4().hex[:12]}"
    path.mkdir()
    cleanup.callback(shutil.rmtree, path)
    return path


@pytest.fixture
def count(cleanup):
    """Make a map with one counter, pinned if a path is given; return what sets the counter."""

    def make(value, name="stats", pin=None):
        fd = map_create(uapi.MAP_ARRAY, key_size=4, value_size=8, max_entries=1, name=name)

        def now(value):
            map_update(fd, bytes(4), struct.pack("=Q", value))

        def close():
            nonlocal fd
            if fd >= 0:
                os.close(fd)
            fd = -1

        cleanup.callback(close)
        now(value)
        if pin:
            pin.parent.mkdir(exist_ok=True)
            bpf.obj_pin(fd, str(pin))
        now.close = close
        now.fd = fd
        return now

    return make


REST = "layout: {value: u64}, metrics: [{name: m, field: value}]"


def counts(server, attribute="service"):
    """The sum that has arrived, by the value of an attribute."""
    values = {dict(at).get(attribute) for (_, _, at) in list(server.windows)}
    return {value: server.total("m", **{attribute: value}) for value in values}


def test_pins_come_and_go(run_on, server, directory, count):
    """Each is a source with what the wildcard matched; one that goes is read a last time."""
    a = count(3, pin=directory / "a/stats")
    count(0, pin=directory / "a/other")
    bpf_program = directory / "p"
    (bpf_program / "stats").mkdir(parents=True)
    source = f"{{pin: '{directory}/*/stats', attributes: {{service: 'x-{{1}}'}}, {REST}}}"
    with run_on(source) as sidecar:
        assert settled(lambda: counts(server), {"x-a": 3}) == {"x-a": 3}
        b = count(5, pin=directory / "b/stats")
        assert settled(lambda: counts(server), {"x-a": 3, "x-b": 5}) == {"x-a": 3, "x-b": 5}
        a(7)
        (directory / "a/stats").unlink()
        assert settled(lambda: counts(server), {"x-a": 7, "x-b": 5}) == {"x-a": 7, "x-b": 5}
        answered(lambda: "let go" in sidecar.log())
        # Pinned again: it goes on where it ended.
        a(11)
        bpf.obj_pin(a.fd, str(directory / "a/stats"))
        b(6)
        assert settled(lambda: counts(server), {"x-a": 11, "x-b": 6}) == {"x-a": 11, "x-b": 6}
        # Another map in its place is followed as ever.
        (directory / "b/stats").unlink()
        count(100, pin=directory / "b/stats")
        assert settled(lambda: counts(server), {"x-a": 11, "x-b": 106}) == {"x-a": 11, "x-b": 106}
    assert "left out" not in sidecar.log()


def test_a_restart_goes_on_with_the_members(run_on, server, directory, count):
    """What was counted while no sidecar ran is counted once."""
    a = count(3, pin=directory / "a/stats")
    source = f"{{pin: '{directory}/?/stats', attributes: {{service: '{{1}}'}}, {REST}}}"
    with run_on(source):
        assert settled(lambda: counts(server), {"a": 3}) == {"a": 3}
    a(8)
    count(2, pin=directory / "b/stats")
    with run_on(source):
        assert settled(lambda: counts(server), {"a": 8, "b": 2}) == {"a": 8, "b": 2}


def test_without_placeholders_the_source_is_an_attribute(run_on, server, directory, count):
    """On all members alike, whichever came first."""
    count(3, pin=directory / "a/stats")
    with run_on(f"{{pin: '{directory}/*/stats', {REST}}}"):
        first = {f"pin:{directory}/a/stats": 3}
        assert settled(lambda: counts(server, "xdp.source"), first) == first
        count(5, pin=directory / "b/stats")
        both = first | {f"pin:{directory}/b/stats": 5}
        assert settled(lambda: counts(server, "xdp.source"), both) == both


def test_names_come_and_go(run_on, server, count):
    """As systemd makes a map for each unit."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    a = count(3, name=f"{prefix}_a")
    with run_on(f"{{name: '{prefix}_*', attributes: {{unit: '{{1}}'}}, {REST}}}"):
        assert settled(lambda: counts(server, "unit"), {"a": 3}) == {"a": 3}
        count(5, name=f"{prefix}_b")
        a(4)
        assert settled(lambda: counts(server, "unit"), {"a": 4, "b": 5}) == {"a": 4, "b": 5}


def test_nothing_need_match_at_first(run_on, server, directory, count):
    """Not even the directory is there."""
    with run_on(f"{{pin: '{directory}/later/*', attributes: {{service: '{{1}}'}}, {REST}}}") as sidecar:
        answered(lambda: "nothing matches yet" in sidecar.log())
        answered(lambda: "capabilities kept: CAP_DAC_READ_SEARCH" in sidecar.log())
        count(9, pin=directory / "later/one")
        assert settled(lambda: counts(server), {"one": 9}) == {"one": 9}


def test_the_commands_take_patterns(directory, count, tmp_path):
    """`dump` shows all that match, and a number that no wildcard has is refused with its line."""
    count(3, pin=directory / "a/stats")
    count(5, pin=directory / "b/stats")
    config = tmp_path / "c.yaml"
    text = f"sources:\n  - pin: {directory}/*/stats\n    attributes: {{service: '{{1}}'}}\n"
    text += "    layout: {value: u64}\n"
    config.write_text(text)
    rows = [line.split() for line in xdp_otel("dump", "--config", config).splitlines()]

    assert ["a", "3"] in rows
    assert ["b", "5"] in rows
    config.write_text(text.replace("{1}", "{2}"))
    refused = xdp_otel("dump", "--config", config, code=2)
    assert refused.startswith(
        f"ERROR {config}:3: attribute 'service': {{2}} is none of the pattern's wildcards"
    )
