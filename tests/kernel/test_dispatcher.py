# SPDX-License-Identifier: Apache-2.0
"""The parts of using libxdp's dispatcher that any kernel can test; test_dispatcher_joined.py joins one."""

import socket
import uuid

import pytest

from sidecar.errors import KernelError, SourceError
from sidecar.kernel import dispatcher, libbpf, xdp
from sidecar.kernel import syscall as bpf


@pytest.fixture
def managed(veth, bpffs, cleanup, monkeypatch):
    """The directory of pins of an interface's program, made as libxdp makes it for its dispatcher."""
    monkeypatch.setattr(dispatcher, "PIN_ROOT", bpffs / f"test-{uuid.uuid4().hex[:12]}")
    ifindex = socket.if_nametoindex(veth.name)
    program = cleanup.enter_context(libbpf.load_packet_counter())
    link_fd = bpf.link_create_xdp(program.prog_fd, ifindex, 0)
    cleanup.callback(bpf.link_detach, link_fd)
    directory = dispatcher.PIN_ROOT / f"dispatch-{ifindex}-{bpf.prog_info(program.prog_fd).id}"
    directory.mkdir(parents=True)
    cleanup.callback(dispatcher.PIN_ROOT.rmdir)
    cleanup.callback(directory.rmdir)
    return directory


def pin(fd, path, cleanup):
    bpf.obj_pin(fd, str(path))
    cleanup.callback(path.unlink)


def test_without_libxdp_the_error_names_the_package(veth, managed, monkeypatch):
    """An interface that libxdp manages is left alone; the error is one line with two ways out."""

    def missing():
        raise OSError("libxdp.so.1: cannot open shared object file")

    monkeypatch.setattr(dispatcher, "_load_library", missing)
    with pytest.raises(SourceError) as caught:
        xdp.attach(veth)

    assert str(caught.value) == (
        f"cannot attach to {veth.name}: libxdp manages it, and libxdp.so.1 is not installed: "
        "install libxdp (Debian: libxdp1, RHEL: libxdp) to count next to the programs there, "
        "or read one of their maps with --map-path"
    )


def test_our_program_is_found_under_a_dispatcher_by_its_map(veth, managed, cleanup):
    """If a program there counts in the pinned map, attaching does nothing and does not load libxdp."""
    veth.pin_directory.mkdir(parents=True)
    cleanup.callback(veth.pin_directory.rmdir)
    ours = cleanup.enter_context(libbpf.load_packet_counter())
    other = cleanup.enter_context(libbpf.load_packet_counter())
    pin(ours.map_fd, veth.map_pin, cleanup)
    pin(other.prog_fd, managed / "prog0-prog", cleanup)
    pin(ours.prog_fd, managed / "prog1-prog", cleanup)
    before = libbpf.attached_prog_id(socket.if_nametoindex(veth.name))
    xdp.attach(veth)

    assert xdp.is_shared(veth)
    assert dispatcher.find(managed, bpf.map_info(ours.map_fd).id) == managed / "prog1-prog"
    assert libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) == before
    assert not veth.link_pin.exists()


def test_a_program_that_is_not_a_dispatcher_is_not_mistaken_for_one(veth, cleanup):
    """Without libxdp's pins it is a foreign program, and the error says how to share the interface."""
    foreign = cleanup.enter_context(libbpf.load_packet_counter())
    link_fd = bpf.link_create_xdp(foreign.prog_fd, socket.if_nametoindex(veth.name), 0)
    cleanup.callback(bpf.link_detach, link_fd)

    with pytest.raises(
        SourceError, match=r"which is not replaced: detach that one .* with `xdp-loader`, next to"
    ):
        xdp.attach(veth)
    assert not veth.pin_directory.exists()


def test_a_refusal_quotes_libxdp(veth, managed):
    """libxdp sees that the program is not its dispatcher; its message is in the one line."""
    with pytest.raises(KernelError, match=rf"cannot attach to {veth.name}: EBUSY .*: libxdp: \w"):
        xdp.attach(veth)
