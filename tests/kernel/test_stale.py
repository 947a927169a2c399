# SPDX-License-Identifier: Apache-2.0
"""A source that no longer reads what stands at its place says so, and sends what it still can."""

import re
import subprocess
import urllib.error
import urllib.request

import pytest

from sidecar.describe.spec import LayoutSpec, MapRef, Member, MetricSpec, SourceSpec
from sidecar.kernel import libbpf, uapi
from sidecar.kernel import syscall as bpf
from sidecar.observe.summary import field_sums
from sidecar.sources import feeders, locate
from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.packets import TCP, UDP
from tests.kernel.test_follow import eventually, run, server  # noqa: F401  # fixtures
from tests.waiting import answered, matching, patient

PACKETS = MetricSpec("packets", "packets")
BYTES = MetricSpec("octets", "bytes")
LAYOUT = LayoutSpec(
    key=(Member("saddr", "u32"), Member("proto", "u8")),
    value=(Member("packets", "u64"), Member("bytes", "u64"), Member("fragments", "u32")),
)


@pytest.fixture
def opened(cleanup):
    """Return a function that opens a source."""

    def make(kind, value, **spec):
        source = locate.source(SourceSpec(MapRef(kind, str(value)), **spec))
        source.open()
        cleanup.callback(source.close)
        source.read()
        assert source.stale == ""
        return source

    return make


def changed(program, tmp_path, *replacements):
    """Replace the program by one that was changed; its new map takes over the pin."""
    text = (MAPS / "flows.bpf.c").read_text()
    for old, new in replacements:
        text = text.replace(old, new)
    source = tmp_path / "changed.bpf.c"
    source.write_text(text)
    program._object = compile_object(source, tmp_path / "changed.bpf.o")
    program.load_again()


def sums(source):
    """The sums over all keys of the newest map, by field."""
    source.release(source.read()[-1].identity)
    (newest,) = source.read()
    return field_sums(source.schema, newest)


RENAMED = (("bytes", "octets"),)
INSERTED = (("__u32 fragments;", "__u64 more;\n\t__u32 fragments;"),)
MOVED = (("__u64 packets;\n\t__u64 bytes;", "__u64 bytes;\n\t__u64 packets;"),)


@pytest.mark.parametrize(
    ("spec", "replacements", "left"),
    [
        ({"metrics": (PACKETS, BYTES)}, RENAMED, {"packets"}),
        ({"layout": LAYOUT, "metrics": (PACKETS, BYTES)}, RENAMED, {"packets"}),
        ({"layout": LAYOUT, "metrics": (PACKETS, BYTES)}, MOVED, {"packets", "bytes"}),
        ({"layout": LAYOUT}, INSERTED, {"packets", "bytes"}),
    ],
    ids=["field renamed", "field of a layout renamed", "fields moved", "field inserted"],
)
def test_what_still_fits_is_read_from_the_new_map(flows, opened, tmp_path, spec, replacements, left):
    """Exactly, under the same names; what does not fit makes the source stale."""
    source = opened("pin", flows.map, **spec)
    before = source.schema
    changed(flows, tmp_path, *replacements)
    flows.send("192.0.2.1", TCP, 5, b"x" * 100)
    found = sums(source)

    assert source.info.id == bpf_id(flows.map)
    assert found["packets"] == 5
    assert left <= found.keys()
    assert found.get("bytes", 5 * 154) == 5 * 154
    assert source.stale.endswith(f"metrics the {len(source.schema.instruments)} that still fit are sent")
    assert set(source.schema.instruments) <= {*before.instruments}
    assert source.schema.labels == before.labels
    assert source.schema.name == before.name


def bpf_id(pin):
    fd = bpf.obj_get(str(pin), readonly=True)
    with open(fd, "rb", closefd=True):
        return bpf.map_info(fd).id


def test_a_map_of_which_nothing_fits_is_not_read(flows, opened, tmp_path):
    """The one before is read on, with its last counts."""
    source = opened("pin", flows.map, metrics=(BYTES,))
    flows.send("192.0.2.1", TCP, 3)
    before = source.info.id
    changed(flows, tmp_path, *RENAMED)

    assert sums(source) == {"bytes": 3 * 54}
    assert source.info.id == before
    assert "has no such field" in source.stale


def test_a_map_that_fits_again_ends_it(flows, opened, tmp_path):
    """All that was asked for is there again, although the map in between had only a part."""
    source = opened("pin", flows.map, metrics=(PACKETS, BYTES))
    changed(flows, tmp_path, *RENAMED)
    source.read()
    assert source.stale
    flows.map.unlink()
    flows.program.unlink()
    (flows.directory / "prog2").unlink()
    flows._object = compile_object(MAPS / "flows.bpf.c", tmp_path / "again.bpf.o")
    (flows.directory / "again").rmdir()
    flows.load_again()
    flows.send("192.0.2.1", TCP, 2)

    assert sums(source) == {"packets": 2, "bytes": 2 * 54}
    assert source.stale == ""


def test_a_removed_pin_is_stale_until_it_is_back(flows, opened, make_pin):
    """The map is read on meanwhile."""
    source = opened("pin", flows.map)
    fd = bpf.obj_get(str(flows.map))
    flows.map.unlink()
    flows.send("192.0.2.1", TCP, 3)
    assert sums(source)["packets"] == 3
    assert source.stale.startswith(f"cannot open map pinned at {flows.map}: ENOENT")
    with open(fd, "rb", closefd=True):
        make_pin(fd, flows.map)
    source.read()

    assert source.stale == ""


def detach(program):
    subprocess.run(["bpftool", "net", "detach", "xdpdrv", "dev", program.interface.name], check=True)


def attach(program, pin):
    where = ["pinned", pin, "dev", program.interface.name, "overwrite"]
    subprocess.run(["bpftool", "net", "attach", "xdpdrv", *where], check=True)


@pytest.mark.parametrize("kind", ["pin", "id"])
def test_a_program_that_was_detached_is_stale_until_it_is_back(flows, opened, kind):
    """Its map stays, with its last counts."""
    source = opened(kind, flows.map if kind == "pin" else bpf_id(flows.map))
    flows.send("192.0.2.1", TCP, 3)
    detach(flows)
    assert sums(source)["packets"] == 3
    name = flows.interface.name
    assert source.stale.endswith(f"is no longer on {name}: it carries no program")
    assert source.stale.startswith("program xdp_flows (id ")
    attach(flows, flows.program)
    source.read()

    assert source.stale == ""


@pytest.mark.parametrize("kind", ["pin", "id"])
def test_an_interface_that_is_gone_is_stale(flows, opened, kind):
    """A user's program goes with it, and its pin keeps the map."""
    source = opened(kind, flows.map if kind == "pin" else bpf_id(flows.map))
    subprocess.run(["ip", "link", "del", flows.interface.name], check=True)
    source.read()

    assert source.stale.endswith(f"is no longer on {flows.interface.name}: the interface is gone")


def no_rights(*_):
    raise PermissionError(1, "not permitted")


@pytest.mark.parametrize("allowed", [True, False], ids=["with rights", "without rights"])
@pytest.mark.parametrize("kind", ["pin", "id"])
def test_a_program_that_was_replaced_with_its_map_is_stale(flows, opened, monkeypatch, kind, allowed):
    """Named by id, or by a pin that the successor did not take over: the map is read for ever otherwise."""
    source = opened(kind, flows.map if kind == "pin" else bpf_id(flows.map))
    if not allowed:
        monkeypatch.setattr(feeders.bpf, "prog_info_by_id", no_rights)
    flows._load(flows.directory / "prog2", flows.directory / "again")
    for _ in range(3):
        flows.send("192.0.2.1", TCP, 3)
        source.read()
        assert "is no longer on" in source.stale
    assert "it carries program id " in source.stale


@pytest.mark.parametrize("allowed", [True, False], ids=["with rights", "without rights"])
def test_a_program_that_was_replaced_and_keeps_the_map_is_not_stale(flows, opened, monkeypatch, allowed):
    """At once where programs may be looked up; otherwise as soon as it has counted a packet."""
    source = opened("pin", flows.map)
    if not allowed:
        monkeypatch.setattr(feeders.bpf, "prog_info_by_id", no_rights)
    successor = flows.directory / "prog2"
    same_map = ("map", "name", "flows", "pinned", flows.map)
    flows._bpftool("prog", "load", flows._object, successor, "type", "xdp", *same_map)
    attach(flows, successor)
    source.read()
    assert bool(source.stale) != allowed
    flows.send("192.0.2.1", UDP, 1)
    source.read()
    assert source.stale == ""
    source.read()
    assert source.stale == ""
    detach(flows)
    source.read()
    assert source.stale


def test_a_map_whose_programs_have_ended_is_stale(opened, make_pin):
    """Whether they were attached or not."""
    program = libbpf.load_packet_counter()
    source = opened("pin", make_pin(program.map_fd))
    program.close()

    def reason():
        source.read()
        return source.stale

    # The kernel frees a program some moments after its last descriptor.
    assert answered(reason).startswith("no program uses the map any more; it was filled by xdp_count")


def test_a_map_without_a_program_is_not_stale(make_map, make_pin, opened):
    """Another process may fill it: only what was there can be lost."""
    layout = LayoutSpec(value=(Member("packets", "u64"),))
    source = opened("pin", make_pin(make_map(uapi.MAP_ARRAY, value_size=8)), layout=layout)
    source.read()

    assert source.stale == ""


def page(port, path):
    """Status code and body of the status endpoint."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=patient(5)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_running_sidecar_tells_and_counts_on(run, server, flows, tmp_path):  # noqa: F811
    """After a field was renamed, the last packets of the old map and those of the new one are counted."""
    config = tmp_path / "flows.yaml"
    config.write_text(
        f"sources:\n  - pin: {flows.map}\n    metrics:\n"
        "      - {name: packets, field: packets}\n      - {name: octets, field: bytes}\n"
    )
    with run("--config", str(config), "--status-address", "127.0.0.1:0") as log:
        port = re.search(r"http://127.0.0.1:(\d+)/", log.read_text())[1]
        flows.send("192.0.2.1", TCP, 3)
        eventually(lambda: server.total("packets"), 3, log)
        assert matching(lambda: page(port, "/readyz"), lambda found: found[0] == 200) == (200, "ok\n")
        flows.send("192.0.2.1", TCP, 4)
        changed(flows, tmp_path, *RENAMED)
        flows.send("192.0.2.1", TCP, 5)
        eventually(lambda: server.total("packets"), 12, log)
        eventually(lambda: server.total("octets"), 7 * 54, log)
        code, body = matching(lambda: page(port, "/readyz"), lambda found: found[0] == 503)
        metrics = page(port, "/metrics")[1]

    assert code == 503
    assert body.startswith(f"pin:{flows.map}: stale: ")
    assert "of 2 metrics the 1 that still fit are sent" in body
    assert "xdp_xdp_otel_ready 0\n" in metrics
    assert f'xdp_xdp_otel_source_stale{{source="pin:{flows.map}"}} 1\n' in metrics
    assert log.read_text().count("that still fit are sent") == 1
