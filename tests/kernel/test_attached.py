# SPDX-License-Identifier: Apache-2.0
"""A map by its interface and its name: of a program that anything attached, and that is left as it is."""

import os
import socket
import subprocess
import uuid

import pytest

from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SourceError
from sidecar.kernel import dispatcher, libbpf, netlink, uapi
from sidecar.kernel import syscall as bpf
from sidecar.sources import locate
from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.packets import IPV4, TCP, ethernet, ipv4, tcp
from tests.kernel.user_program import bpftool, xdp_otel


@pytest.fixture
def attach(bpffs, cleanup, tmp_path):
    """Attach a program of its own, with a map of its own, to an interface; nothing stays pinned."""
    built = compile_object(MAPS / "flows.bpf.c", tmp_path / "flows.bpf.o")

    def run(*command, check=True):
        subprocess.run(list(map(str, command)), check=check, capture_output=True)

    def onto(interface):
        pin = bpffs / f"test-{uuid.uuid4().hex[:12]}"
        run("bpftool", "prog", "load", built, pin, "type", "xdp")
        run("bpftool", "net", "attach", "xdpdrv", "pinned", pin, "dev", interface, "overwrite")
        pin.unlink()
        cleanup.callback(run, "bpftool", "net", "detach", "xdpdrv", "dev", interface, check=False)
        (program,) = netlink.programs_on(socket.if_nametoindex(interface))
        return bpf.prog_info_by_id(program).map_ids[0]

    return onto


@pytest.fixture
def opened(cleanup):
    """Open the source of a map by its interface and name."""

    def source(interface, name="flows"):
        found = locate.source(SourceSpec(MapRef("attached", interface, map=name)))
        cleanup.callback(found.close)
        found.open()
        return found

    return source


def receive(interface, count):
    """Make an end of a veth pair receive packets from the other end."""
    sender = interface[:-1] if interface.endswith("p") else f"{interface}p"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((sender, 0))
        for _ in range(count):
            raw.send(ethernet(IPV4, ipv4(TCP, tcp(b""))))


def packets(map_id):
    """What bpftool reads."""
    entries = bpftool("map", "dump", "id", map_id)
    return sum(slot["value"]["packets"] for entry in entries for slot in entry["formatted"]["values"])


def read(source):
    """The ids of the maps that are read, and the packets in them."""
    counted = ((each.identity.map_id, each.reading.cells.values()) for each in source.read())
    return [(number, sum(cells[0] for cells in entries)) for number, entries in counted]


def refusal(opened, *place):
    with pytest.raises(SourceError) as caught:
        opened(*place)
    return str(caught.value)


def test_two_maps_of_one_name_are_told_apart_by_their_interfaces(veth, attach, opened):
    """As bpftool reads each by its id; both points carry their interface."""
    names = [veth.name, f"{veth.name}p"]
    ids = [attach(name) for name in names]
    for name, count in zip(names, (3, 5), strict=True):
        receive(name, count)
    sources = [opened(name) for name in names]

    assert [read(each) for each in sources] == [[(number, packets(number))] for number in ids]
    assert [packets(number) for number in ids] == [3, 5]
    assert [each.schema.attributes for each in sources] == [
        (("network.interface.name", name),) for name in names
    ]
    assert sources[0].name == f"interface:{veth.name},map:flows"


def test_a_program_that_is_replaced_is_followed(veth, attach, opened):
    """With a last reading of the map before; a program that is detached makes the source stale."""
    first = attach(veth.name)
    receive(veth.name, 2)
    source = opened(veth.name)
    assert read(source) == [(first, 2)]
    receive(veth.name, 4)
    second = attach(veth.name)
    receive(veth.name, 7)

    assert read(source) == [(first, 6), (second, 7)]
    assert source.stale == ""
    subprocess.run(["ip", "link", "set", veth.name, "xdp", "off"], check=True)
    assert read(source) == [(first, 6), (second, 7)]
    assert "it carries no XDP or TCX program" in source.stale


def test_the_interface_may_be_in_another_network_namespace(bpffs, cleanup, tmp_path):
    """By `netns`, as for the shipped program."""
    netns, pin = f"t{uuid.uuid4().hex[:8]}", bpffs / f"test-{uuid.uuid4().hex[:12]}"
    built = compile_object(MAPS / "flows.bpf.c", tmp_path / "flows.bpf.o")
    for command in (
        f"ip netns add {netns}",
        f"ip -n {netns} link add blue type veth peer name bluep",
        f"bpftool prog load {built} {pin} type xdp",
        f"nsenter --net=/run/netns/{netns} bpftool net attach xdpgeneric pinned {pin} dev blue",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
        if command.startswith("ip netns"):
            cleanup.callback(subprocess.run, ["ip", "netns", "del", netns], check=True)
    pin.unlink()

    shown = xdp_otel("dump", "--netns", netns, "--map-name", "blue:flows")
    assert shown.startswith(f"interface:{netns}:blue,map:flows: map flows, id ")


def test_programs_of_a_dispatcher_are_found(veth, opened, cleanup, bpffs, monkeypatch):
    """What libxdp's dispatcher calls is known by its pins; maps of one name on one interface are refused."""
    monkeypatch.setattr(dispatcher, "PIN_ROOT", bpffs / f"test-{uuid.uuid4().hex[:12]}")
    ifindex = socket.if_nametoindex(veth.name)
    stand_in, called = (cleanup.enter_context(libbpf.load_packet_counter()) for _ in range(2))
    cleanup.callback(bpf.link_detach, bpf.link_create_xdp(stand_in.prog_fd, ifindex, 0))
    directory = dispatcher.PIN_ROOT / f"dispatch-{ifindex}-{bpf.prog_info(stand_in.prog_fd).id}"
    directory.mkdir(parents=True)
    cleanup.callback(dispatcher.PIN_ROOT.rmdir)
    cleanup.callback(directory.rmdir)
    bpf.obj_pin(called.prog_fd, str(directory / "prog0-prog"))
    cleanup.callback((directory / "prog0-prog").unlink)
    ids = [bpf.map_info(each.map_fd).id for each in (stand_in, called)]

    text = refusal(opened, veth.name, libbpf.MAP_NAME)
    assert "2 maps of them have that name" in text
    assert all(f"id {number}" in text for number in ids)


def test_programs_of_tcx_are_found(needs_tcx, veth, opened, cleanup):
    """At either hook."""
    ifindex = socket.if_nametoindex(veth.name)
    program = cleanup.enter_context(libbpf.load_transmit_counter())
    link = bpf.link_create_tcx(program.prog_fd, ifindex, uapi.ATTACH_TCX_EGRESS, 0)
    cleanup.callback(os.close, link)
    source = opened(veth.name, bpf.map_info(program.map_fd).name)

    assert source.info.id == bpf.map_info(program.map_fd).id


def test_what_is_not_there_is_refused_in_one_line(veth, attach, opened):
    """With what is there instead."""
    what = f"cannot find map flow of the programs on {veth.name}"
    assert refusal(opened, veth.name, "flow") == (
        f"{what}: it carries no XDP or TCX program: `xdp-otel discover` shows what each interface carries"
    )
    attach(veth.name)
    assert refusal(opened, veth.name, "flow").startswith(
        f"{what}: none of them uses such a map: did you mean 'flows'?"
    )
    assert "no such interface" in refusal(opened, "nosuchif")


def test_the_commands_know_it(veth, attach, tmp_path):
    """`discover` names it so, and `dump` and `check` read it, by flag and by file; nothing is attached."""
    attach(f"{veth.name}p")
    number = attach(veth.name)
    receive(veth.name, 6)
    shown = xdp_otel("discover", "--interface", veth.name)
    config = tmp_path / "flows.yaml"
    config.write_text(xdp_otel("discover", "--write-config", number))
    before = netlink.programs_on(socket.if_nametoindex(veth.name))

    assert f"read it  --map-name {veth.name}:flows" in shown
    assert f"  - interface: {veth.name} " in config.read_text()
    for source in (("--map-name", f"{veth.name}:flows"), ("--config", config)):
        assert xdp_otel("dump", *source).splitlines()[2].split()[-3:] == ["6", "324", "0"]
        assert f"ok      interface:{veth.name},map:flows: " in xdp_otel("check", "--no-endpoint", *source)
    assert netlink.programs_on(socket.if_nametoindex(veth.name)) == before
