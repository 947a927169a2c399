# SPDX-License-Identifier: Apache-2.0
"""What one end of a veth pair transmits is what the other receives, to the byte, whoever segments it."""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import uuid
from dataclasses import replace

import pytest

from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import KernelError, SourceError
from sidecar.kernel import netns, uapi, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface
from sidecar.sources import locate
from tests.kernel import packets as p
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.frames import send
from tests.kernel.oracle import Counts, classify
from tests.kernel.test_attach import ROOT, counts, reattach
from tests.waiting import patient, settled
from tests.wire.collector import Collector

SIOCETHTOOL = 0x8946
# ETHTOOL_S…, include/uapi/linux/ethtool.h
SET_TSO, SET_GSO, SET_FLAGS = 0x1F, 0x24, 0x26
FLAG_TX_VLAN = 1 << 7
SOL_PACKET, PACKET_VNET_HDR = 263, 15


@pytest.fixture
def transmitting(needs_tcx, veth):
    """The fixture's interface as it transmits."""
    return Interface(veth.name, direction="transmit")


@pytest.fixture
def read(cleanup):
    """Attach; return a function that returns the counts since then."""

    def attached(interface):
        source = locate.source(SourceSpec(MapRef("interface", *vars(interface).values())))
        cleanup.callback(source.close)
        source.open()
        before = counts(source)
        return lambda: {name: count - before[name] for name, count in counts(source).items()}

    return attached


@pytest.fixture
def far(veth, cleanup):
    """The other end, moved to a network namespace of its own; both have addresses."""
    name = f"xt{uuid.uuid4().hex[:8]}"
    other = Interface(f"{veth.name}p", name)
    subprocess.run(["ip", "netns", "add", name], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
    subprocess.run(["ip", "link", "set", other.name, "netns", name], check=True)
    cleanup.callback(lambda: other.pin_directory.exists() and xdp.detach(other))
    # A namespace is deleted in the background, and both ends with it.
    cleanup.callback(subprocess.run, ["ip", "link", "del", veth.name], check=True)
    for line in (
        f"addr add 198.18.77.1/24 dev {veth.name}",
        f"-n {name} addr add 198.18.77.2/24 dev {other.name}",
        f"-n {name} link set {other.name} up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    return other


def ethtool(interface, command, value):
    """Set an offload."""
    data = ctypes.create_string_buffer(struct.pack("=II", command, value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("=16sQ16x", interface.encode(), ctypes.addressof(data))
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """TCX programs of other owners."""
    path = compile_object(MAPS / "seen.bpf.c", tmp_path_factory.mktemp("bpf") / "seen.o")
    with Loaded(path) as loaded:
        yield loaded


@pytest.fixture
def attach_foreign(veth, foreign, cleanup):
    """Attach one of them behind the programs that the interface transmits through, or before them."""

    def attach(name, flags=0):
        ifindex = socket.if_nametoindex(veth.name)
        link = bpf.link_create_tcx(foreign.programs[name], ifindex, uapi.ATTACH_TCX_EGRESS, flags)
        cleanup.callback(os.close, link)

    return attach


def seen(foreign):
    """Return how many packets the program has accepted."""
    return int.from_bytes(bpf.map_lookup(foreign.maps["seen"], bytes(4), 8), sys.byteorder)


def programs(interface):
    """Return the names of the programs at TCX egress, in their order."""
    ids = bpf.tcx_prog_ids(socket.if_nametoindex(interface.name), uapi.ATTACH_TCX_EGRESS)
    return [bpf.prog_info_by_id(number).name for number in ids]


def transmit(interface, frames, *options):
    """Send frames out of an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        for option in options:
            raw.setsockopt(*option)
        raw.bind((interface.name, 0))
        for frame in frames:
            raw.send(frame)


def as_counts(read):
    """Return what was read in the form of the oracle's."""
    return Counts(*read().values())


def total(frames):
    """Return what the oracle counts of all frames."""
    each = [vars(classify(frame)) for frame in frames]
    return Counts(**{name: sum(counts[name] for counts in each) for name in each[0]})


def test_each_kind_of_frame_counts_the_same_on_both_ends(veth, transmitting, read):
    """Also cut after any byte: what one end transmits is what the other receives."""
    for end in (veth.name, f"{veth.name}p"):
        subprocess.run(["ip", "link", "set", end, "mtu", "9000"], check=True)
    other = Interface(f"{veth.name}p")
    frames = [frame for _, frame in p.KINDS.values()]
    frames += [frame[:length] for frame in frames for length in range(14, min(len(frame), 80))]
    try:
        sent, received = read(transmitting), read(other)
        transmit(veth, frames)

        assert as_counts(sent) == total(frames)
        assert settled(lambda: as_counts(received), total(frames), 10) == total(frames)
    finally:
        xdp.detach(other)


def transfer(namespace, address, size):
    """Send *size* bytes over TCP to an address in a network namespace."""
    with netns.entered(namespace):
        listening = socket.create_server((address, 0))

    def drain():
        with listening, listening.accept()[0] as connection:
            while connection.recv(1 << 16):
                pass

    receiver = threading.Thread(target=drain)
    receiver.start()
    with socket.create_connection(listening.getsockname(), timeout=patient(20)) as connection:
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    receiver.join()


def equal(sent, received):
    """Return what one end sent once the other has received as much, which then is its own count."""
    expected = settled(lambda: as_counts(sent) == as_counts(received), True, 10)
    assert expected is True, (as_counts(sent), as_counts(received))
    return as_counts(sent)


@pytest.mark.parametrize("gso", [True, False], ids=["GSO", "no GSO"])
def test_segments_count_as_on_the_wire(veth, transmitting, read, far, attach_foreign, foreign, gso):
    """TCP hands over packets of up to 64 KB: they are counted as the segments that they become, both ways."""
    ethtool(veth.name, SET_TSO, gso)
    ethtool(veth.name, SET_GSO, gso)
    sent, received = read(transmitting), read(far)
    back, arrived = read(replace(far, direction="transmit")), read(veth)
    attach_foreign("accepts")
    before = seen(foreign)
    transfer(far.netns, "198.18.77.2", 10_000_000)

    counted = equal(sent, received)
    assert counted.tcp > 10_000_000 // 1460
    assert counted.bytes > 10_000_000 + 54 * counted.tcp
    # Since Linux 4.18 TCP does so whatever the offloads are: they are segmented between TCX and the driver.
    assert seen(foreign) - before < counted.total / 4
    assert equal(back, arrived).tcp > 100


TAGS = {"tags_c": p.C_TAG, "tags_s": p.S_TAG}
TAGGED = [(p.KINDS["ARP"][1][14:], p.ARP), (p.ipv4(p.TCP, p.tcp()), p.IPV4), (p.ipv6(p.UDP, p.udp()), p.IPV6)]


@pytest.mark.parametrize("program", TAGS)
@pytest.mark.parametrize("inner", [(), (p.C_TAG,), (p.S_TAG, p.C_TAG)], ids=["alone", "two", "three"])
def test_a_tag_beside_the_frame_counts_as_in_it(veth, transmitting, read, attach_foreign, program, inner):
    """On the wire it is the first, so three are not IP. A peer over veth sees it only without TX_VLAN."""
    ethtool(veth.name, SET_FLAGS, 0)
    other = Interface(f"{veth.name}p")
    try:
        sent, received = read(transmitting), read(other)
        attach_foreign(program, uapi.F_BEFORE)
        transmit(veth, [p.ethernet(ethertype, packet, *inner) for packet, ethertype in TAGGED])

        tagged = [p.ethernet(ethertype, packet, TAGS[program], *inner) for packet, ethertype in TAGGED]
        assert as_counts(sent) == total(tagged)
        if program == "tags_c":
            assert equal(sent, received) == total(tagged)
    finally:
        xdp.detach(other)


VNET_HDR = struct.pack("=BBHHHH", 1, 1, 54, 1448, 34, 16)
"""struct virtio_net_hdr: VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4."""


@pytest.mark.parametrize("tag", [0, 4], ids=["untagged", "tagged"])
def test_segments_of_a_virtual_machine_are_counted(veth, transmitting, read, attach_foreign, tag):
    """It does not say how many there are, nor does the kernel until it makes them (SKB_GSO_DODGY)."""
    ethtool(veth.name, SET_FLAGS, 0)
    other = Interface(f"{veth.name}p")
    frame = p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(bytes(20_000))))
    try:
        sent, received = read(transmitting), read(other)
        if tag:
            attach_foreign("tags_c", uapi.F_BEFORE)
        transmit(veth, [VNET_HDR + frame], (SOL_PACKET, PACKET_VNET_HDR, 1))

        counted = equal(sent, received)
        assert (counted.total, counted.tcp) == (14, 14)
        assert counted.bytes == 20_000 + 14 * (54 + tag)
    finally:
        xdp.detach(other)


def test_other_programs_stay_and_run_after_ours(veth, transmitting, read, attach_foreign, foreign):
    """One that drops does so after ours has counted; behind one that accepts, ours would never run."""
    attach_foreign("accepts")
    sent = read(transmitting)
    attach_foreign("drops")
    before = seen(foreign)
    transmit(veth, [p.KINDS["ARP"][1]] * 3)

    assert programs(veth) == ["tcx_count", "accepts", "drops"]
    assert (sent()["total_packets"], seen(foreign) - before) == (3, 3)
    assert xdp.detach(veth) is True
    assert programs(veth) == ["accepts", "drops"]


def test_attaching_again_changes_nothing_and_detaching_removes_both_directions(veth, transmitting):
    """From one directory of pins, which goes with them."""
    xdp.attach(veth)
    xdp.attach(transmitting)
    before = (
        sorted(veth.pin_directory.iterdir()),
        bpf.tcx_prog_ids(socket.if_nametoindex(veth.name), uapi.ATTACH_TCX_EGRESS),
    )
    xdp.attach(transmitting)

    assert before == (
        sorted(veth.pin_directory.iterdir()),
        bpf.tcx_prog_ids(socket.if_nametoindex(veth.name), uapi.ATTACH_TCX_EGRESS),
    )
    assert [path.name for path in before[0]] == ["link", "stats_map", "transmit_link", "transmit_map"]
    assert xdp.detach(veth) is True
    assert programs(veth) == []
    assert not veth.pin_directory.exists()
    assert xdp.detach(veth) is False


def test_counting_goes_on_through_a_new_interface_and_lost_pins(veth, transmitting, read):
    """As for XDP: in the same map, or, if only its pin was removed, in the map of the program."""
    sent = read(transmitting)
    transmit(veth, [p.KINDS["ARP"][1]] * 3)
    transmitting.map_pin.unlink()
    assert sent()["total_packets"] == 3
    assert transmitting.map_pin.exists()
    reattach(veth)
    assert sent()["total_packets"] == 3
    transmit(veth, [p.KINDS["ARP"][1]] * 4)

    assert sent()["total_packets"] == 7
    assert programs(veth) == ["tcx_count"]


def test_an_interface_of_another_namespace_is_not_mistaken_for_this_one(needs_tcx, far, cleanup):
    """Its pins are named after it alone if the sidecar ran there; detaching names the namespace."""
    inside = ["nsenter", f"--net=/run/netns/{far.netns}", sys.executable, "-m", "sidecar"]
    here = Interface(far.name)
    attach = [*inside, "attach", "--interface", far.name, "--direction", "transmit"]
    subprocess.run(attach, cwd=ROOT, capture_output=True, check=True)
    with pytest.raises(SourceError, match=f"attached to {far.name} in network namespace {far.netns}"):
        xdp.detach(here)

    subprocess.run([*inside, "detach", "--interface", far.name], cwd=ROOT, capture_output=True, check=True)
    assert not here.pin_directory.exists()


def test_a_kernel_without_tcx_is_one_clear_line(veth, monkeypatch):
    """It answers EINVAL, as to an attach type that it does not know; nothing is left behind."""
    monkeypatch.setattr(uapi, "ATTACH_TCX_EGRESS", 4096)
    with pytest.raises(KernelError) as caught:
        xdp.attach(Interface(veth.name, direction="transmit"))

    assert str(caught.value) == (
        f"cannot attach to {veth.name}: the kernel has no TCX, where transmitted packets are counted: "
        "count received packets alone (--direction receive), or upgrade it (mainline: 6.6 or newer)"
    )
    assert not veth.pin_directory.exists()


def test_both_directions_are_exact_through_kills_and_changes_of_direction(veth, transmitting, tmp_path):
    """A sidecar for both takes up the journal of one that counted received packets alone."""
    for direction in (veth, transmitting):
        xdp.attach(direction)
    with Collector() as server:

        def sidecar(direction, number):
            """Run one, with traffic before and while it runs."""
            send(veth, 10)
            transmit(veth, [p.KINDS["ARP"][1]] * 20)
            options = ["--interval", "0.1", "--state-dir", tmp_path / "state"]
            options += ["--otel-endpoint", f"127.0.0.1:{server.port}", "--direction", direction]
            command = [sys.executable, "-m", "sidecar", "run", "--interface", veth.name, *options]
            process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            calls = len(server.calls)
            settled(lambda: len(server.calls) > calls, True, 30)
            send(veth, 3)
            transmit(veth, [p.KINDS["ARP"][1]] * 5)
            calls = len(server.calls)
            settled(lambda: len(server.calls) > calls, True, 30)
            process.send_signal(number)
            process.wait(patient(30))

        for direction, number in (
            ("receive", signal.SIGKILL),
            ("both", signal.SIGKILL),
            ("both", signal.SIGTERM),
            ("receive", signal.SIGTERM),
            ("both", signal.SIGTERM),
        ):
            sidecar(direction, number)

        everything = server.total("xdp.packets.total")
        transmitted = server.total("xdp.packets.total", **{"network.io.direction": "transmit"})
        assert (everything - transmitted, transmitted) == (5 * 13, 5 * 25)
        assert server.total("xdp.bytes.total") == 5 * (13 * 60 + 25 * len(p.KINDS["ARP"][1]))
        assert 0 < server.total("xdp.packets.total", **{"network.io.direction": "receive"}) < 5 * 13
