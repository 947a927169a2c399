# SPDX-License-Identifier: Apache-2.0
"""Maps inside a map: each is read under its outer key, followed when it is replaced, and read a last time."""

import os
import struct
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.bpf_commands import map_create, map_delete, map_update, prog_test_run
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.user_program import bpftool, xdp_otel
from tests.waiting import answered, settled

ROOT = Path(__file__).parents[2]
# As text, which the books of the tests know.
NAMES = "{1: t1, 2: t2, 3: t3, 4: t4, 700: s700}"
OUTER = f"{{key: [{{field: key, attribute: outer.key, decoder: table, table: {NAMES}}}]}}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return compile_object(MAPS / "tenants.bpf.c", tmp_path_factory.mktemp("bpf") / "tenants.o")


@pytest.fixture
def program(built):
    """The program and its maps, loaded."""
    with Loaded(built) as loaded:
        yield loaded


@pytest.fixture
def run_on(tmp_path, run):
    """Start the sidecar on a map."""

    @contextmanager
    def running(pin, **more):
        config = tmp_path / "sources.yaml"
        settings = "".join(f"    {name}: {text}\n" for name, text in {"outer": OUTER, **more}.items())
        config.write_text(f"sources:\n  - pin: {pin}\n{settings}")
        with run("--config", config) as process:
            answered(lambda: "capabilities kept" in process.log() or process.poll() is not None)
            yield process

    return running


def send(program, tenant, count):
    """Let the program count packets of a tenant."""
    prog_test_run(program.programs["by_tenant"], bytes([tenant]) + bytes(63), repeat=count)


def put(program, tenant, cleanup):
    """Put a new map without BTF under a tenant's key, as control planes make them."""
    fd = map_create(uapi.MAP_PERCPU_HASH, key_size=4, value_size=16, max_entries=16, name="made_later")
    map_update(program.maps["tenants"], struct.pack("=I", tenant), struct.pack("=I", fd))
    os.close(fd)


def counts(server, metric="tenants.packets"):
    """The sum that has arrived, by outer key."""
    keys = {dict(at).get("outer.key") for (_, _, at) in list(server.windows)}
    return {key: server.total(metric, **{"outer.key": key}) for key in keys}


def test_inner_maps_are_replaced_come_and_go(run_on, server, program, make_pin, cleanup):
    """Not a packet is lost, and none is counted twice."""
    with run_on(make_pin(program.maps["tenants"])) as sidecar:
        send(program, 1, 5)
        send(program, 2, 7)
        assert settled(lambda: counts(server), {"t1": 5, "t2": 7}) == {"t1": 5, "t2": 7}
        # The last packets of the old map, which only the sidecar keeps, and the first of the new one.
        send(program, 1, 10)
        put(program, 1, cleanup)
        send(program, 1, 100)
        assert settled(lambda: counts(server), {"t1": 115, "t2": 7}) == {"t1": 115, "t2": 7}
        # A new tenant, and the end of another one.
        put(program, 3, cleanup)
        send(program, 3, 9)
        send(program, 2, 1)
        assert settled(lambda: counts(server), {"t1": 115, "t2": 8, "t3": 9}) == {"t1": 115, "t2": 8, "t3": 9}
        send(program, 2, 4)
        map_delete(program.maps["tenants"], struct.pack("=I", 2))
        assert settled(lambda: counts(server), {"t1": 115, "t2": 12, "t3": 9}) == {
            "t1": 115,
            "t2": 12,
            "t3": 9,
        }
        answered(lambda: "let go" in sidecar.log())
        # It comes back with a map of its own.
        put(program, 2, cleanup)
        send(program, 2, 30)
        assert settled(lambda: counts(server), {"t1": 115, "t2": 42, "t3": 9}) == {
            "t1": 115,
            "t2": 42,
            "t3": 9,
        }
    assert "capabilities kept: CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN" in sidecar.log()
    assert "ERROR" not in sidecar.log()


def test_a_restart_goes_on_where_the_last_run_ended(run_on, server, program, make_pin):
    """What was counted while no sidecar ran is counted once."""
    pin = make_pin(program.maps["tenants"])
    send(program, 1, 5)
    with run_on(pin):
        assert settled(lambda: counts(server), {"t1": 5}) == {"t1": 5}
    send(program, 1, 6)
    send(program, 2, 2)
    with run_on(pin):
        assert settled(lambda: counts(server), {"t1": 11, "t2": 2}) == {"t1": 11, "t2": 2}


def test_the_slots_of_an_array_that_hold_maps_are_read(run_on, server, program, make_pin):
    """The others are empty."""
    pin = make_pin(program.maps["slots"])
    send(program, 9, 3)
    with run_on(pin):
        assert settled(lambda: counts(server, "slots.packets"), {"s700": 3}) == {"s700": 3}
    key, count = bpftool("map", "dump", "pinned", pin)[0]["key"], 3
    assert int(key[0], 16) + 256 * int(key[1], 16) == 700
    table = xdp_otel("dump", "--map-path", pin).splitlines()
    assert table[0].startswith(f"pin:{pin}[700]: map slot, id ")
    assert table[2].split() == ["700", str(count), str(64 * count)]


def test_an_empty_map_of_maps_waits_for_the_first(run_on, server, program, make_pin, cleanup):
    """With the right to open it, which nothing at the start needed."""
    for tenant in (1, 2):
        map_delete(program.maps["tenants"], struct.pack("=I", tenant))
    layout = "{key: u32, value: {packets: u64, bytes: u64}}"
    with run_on(make_pin(program.maps["tenants"]), layout=layout) as sidecar:
        answered(lambda: "nothing matches yet" in sidecar.log())
        put(program, 4, cleanup)
        send(program, 4, 6)
        assert settled(lambda: counts(server), {"t4": 6}) == {"t4": 6}, sidecar.log()


def test_the_outer_key_is_decoded_as_configured(program, make_pin, tmp_path):
    """By a layout of its own; what is wrong has its line."""
    pin = make_pin(program.maps["tenants"])
    send(program, 1, 5)
    config = tmp_path / "c.yaml"

    def dumped(outer, code=0):
        config.write_text(f"sources:\n  - pin: {pin}\n    outer: {outer}\n    key: []\n")
        return xdp_otel("dump", "--config", config, code=code)

    table = "{decoder: table, table: {1: gold, 2: free}, field: key, attribute: tenant}"
    assert dumped(f"{{key: [{table}]}}").splitlines()[1:3] == [
        "tenant  packets  bytes",
        "gold          5    320",
    ]
    split = dumped("{layout: {class: u8, zone: 'u8[3]'}}").splitlines()
    assert [line.split() for line in split[1:3]] == [
        ["class", "zone", "packets", "bytes"],
        ["1", "000000", "5", "320"],
    ]
    assert f"{config}:3: " in dumped("{layout: u64}", code=2)
    assert f"{config}:3: " in dumped("{key: [{field: nothing}]}", code=2)
    config.write_text(f"sources:\n  - pin: {make_pin(program.maps['first'])}\n    outer: {{layout: u32}}\n")
    refused = xdp_otel("dump", "--config", config, code=2)
    assert refused == (
        f"ERROR {config}:3: outer: map first is PERCPU_HASH, not a map of maps: leave it out\n"
    )


def test_discover_knows_maps_of_maps(program, make_pin, tmp_path):
    """And writes a configuration that reads them."""
    pin = make_pin(program.maps["tenants"])
    send(program, 1, 5)
    config = tmp_path / "c.yaml"
    config.write_text(xdp_otel("discover", "--write-config", pin))
    rows = [line.split() for line in xdp_otel("dump", "--config", config).splitlines()]

    assert ["1", "6", "5", "320"] in rows
    shown = xdp_otel("discover", pin)
    assert "HASH_OF_MAPS  2 of 8 keys" in shown
    assert "maps such as first (id " in shown
    assert f"--map-path {pin}" in shown
    check = xdp_otel("check", "--no-endpoint", "--map-path", pin)
    assert (
        f"ok      pin:{pin}[1]: map first, id {bpf.map_info(program.maps['first']).id}, PERCPU_HASH" in check
    )
