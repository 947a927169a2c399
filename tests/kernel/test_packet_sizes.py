# SPDX-License-Identifier: Apache-2.0
"""Packet sizes: each length in its bucket, on both ends of a cable; counting packets goes on as it was."""

import json
import struct
import subprocess
import sys
from dataclasses import replace

import pytest

from demo.bpf_commands import prog_test_run, tcx_test_run
from sidecar.kernel import libbpf, pins, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface
from tests.kernel import packets as p
from tests.kernel.frames import send
from tests.kernel.test_attach import reattach
from tests.kernel.test_program import LINEAR_MAX, REPOSITORY, possible_cpus
from tests.kernel.test_transmit import far as far  # noqa: PLC0414  # a fixture
from tests.kernel.test_transmit import transfer
from tests.waiting import settled

SLOTS = 17
PROGRAMS = {
    "frags": (libbpf.load_packet_counter, {"frags": True}, prog_test_run),
    "linear": (libbpf.load_packet_counter, {"frags": False}, prog_test_run),
    "tcx": (libbpf.load_transmit_counter, {}, tcx_test_run),
}


def totals(map_fd, fields):
    """Return the sums of the 8-byte *fields* of a record over the CPUs."""
    raw = bpf.map_lookup(map_fd, bytes(4), 8 * fields * len(possible_cpus()))
    return [sum(values) for values in zip(*struct.iter_unpack(f"={fields}Q", raw), strict=True)]


def pinned(interface):
    """Return the sum of all lengths and the slots of a pinned histogram."""
    with pins.opened("map", interface.sizes.map_pin, readonly=True) as fd:
        return totals(fd, SLOTS + 1)


def packets_of(interface):
    """Return the packets and bytes that are counted as ever."""
    with pins.opened("map", interface.packets.map_pin, readonly=True) as fd:
        return totals(fd, 8)[:2]


def frame(length):
    """Return a frame of an unknown EtherType."""
    return p.ethernet(0x88B5, bytes(length - 14))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_length_is_in_the_bucket_of_its_logarithm(name, request):
    """At each power of two and its neighbours; the sum is that of all lengths."""
    if name == "frags":
        request.getfixturevalue("needs_frags")
    load, options, run = PROGRAMS[name]
    longest = {"frags": 70_000, "linear": LINEAR_MAX, "tcx": LINEAR_MAX}[name]
    powers = [1 << bit for bit in range(4, 17)]
    lengths = [
        length for power in powers for length in (power - 1, power, power + 1) if 15 <= length <= longest
    ]
    expected = [0] * SLOTS
    with load(sizes=libbpf.Sizes(), **options) as program:
        for number, length in enumerate(lengths, 1):
            run(program.prog_fd, frame(length), repeat=number)
            expected[min(length.bit_length() - 1, SLOTS - 1)] += number
        counted = totals(program.sizes_fd, SLOTS + 1)
        assert totals(program.map_fd, 8)[:2] == [sum(expected), counted[0]]

    assert counted[1:] == expected
    assert counted[0] == sum(number * length for number, length in enumerate(lengths, 1))


@pytest.mark.parametrize("segments", [0, 3], ids=["of a virtual machine", "counted"])
def test_segments_are_counted_with_their_own_lengths(segments):
    """All but the last have headers and a full payload."""
    packet = p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(bytes(2100))))
    with libbpf.load_transmit_counter(sizes=libbpf.Sizes()) as program:
        tcx_test_run(program.prog_fd, packet, gso=(len(packet) + 2 * 54, segments, 1000))
        total, *slots = totals(program.sizes_fd, SLOTS + 1)

    # 1054, 1054 and 154 bytes.
    assert total == 2100 + 3 * 54
    assert {slot: count for slot, count in enumerate(slots) if count} == {10: 2, 7: 1}


def test_both_ends_count_the_same_sizes(needs_tcx, veth, far, cleanup):
    """Whoever segments the packets."""
    ends = Interface(veth.name, direction="transmit"), far
    for end in ends:
        xdp.attach(end.sizes)
    transfer(far.netns, "198.18.77.2", 5_000_000)

    assert settled(lambda: pinned(ends[0]) == pinned(ends[1]), True, 10) is True
    total, *slots = pinned(far)
    assert [sum(slots), total] == packets_of(far)
    assert slots[10] > 5_000_000 // 1500


@pytest.mark.parametrize("direction", ["receive", "transmit"])
def test_counting_goes_on_when_sizes_are_added_under_traffic(veth, direction, request):
    """The program is replaced, and not one packet is missed."""
    if direction == "transmit":
        request.getfixturevalue("needs_tcx")
    counting = replace(veth, direction=direction)
    xdp.attach(counting)
    out = veth.name if direction == "transmit" else f"{veth.name}p"
    command = [sys.executable, "-c", SEND_UNTIL_TOLD, out]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
        sender.stdout.readline()
        xdp.attach(counting.sizes)
        assert settled(lambda: sum(pinned(counting)[1:]) > 0, True, 10) is True
        sent = int(sender.communicate()[0])

    assert settled(lambda: packets_of(counting), [sent, 60 * sent], 10) == [sent, 60 * sent]
    total, *slots = pinned(counting)
    assert total == 60 * slots[5]
    assert 0 < slots[5] < sent


# In bursts that fit into the queue of the pair.
SEND_UNTIL_TOLD = """
import select, socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((sys.argv[1], 0))
sent = 0
while not select.select([sys.stdin], [], [], 0.001)[0]:
    for _ in range(64):
        raw.send(bytes(12) + b"\\x88\\xb5" + bytes(46))
    sent += 64
    if sent == 64:
        print(flush=True)
print(sent)
"""


def test_a_new_interface_goes_on_counting_sizes(veth):
    """Also if only its packets are asked for: the pinned map says that sizes are counted."""
    xdp.attach(veth.sizes)
    send(veth, 3)
    reattach(veth)
    xdp.attach(veth)
    send(veth, 4)

    assert pinned(veth)[1 + 5] == packets_of(veth)[0] == 7


def test_a_lost_map_of_sizes_is_replaced_and_detaching_removes_both(veth):
    """The map of packets stays."""
    xdp.attach(veth.sizes)
    send(veth, 3)
    veth.sizes.map_pin.unlink()
    xdp.attach(veth.sizes)
    send(veth, 4)

    assert (pinned(veth)[1 + 5], packets_of(veth)[0]) == (4, 7)
    assert xdp.detach(veth) is True
    assert not veth.pin_directory.exists()


def test_two_capabilities_suffice_to_load_it(needs_frags):
    """As without sizes."""
    script = (
        "from sidecar.kernel import libbpf\n"
        "libbpf.load_packet_counter(frags=True, sizes=libbpf.Sizes()).close()\n"
        "libbpf.load_transmit_counter(sizes=libbpf.Sizes()).close()\n"
    )
    limited = ["setpriv", "--bounding-set=-all,+bpf,+net_admin"]
    subprocess.run([*limited, sys.executable, "-c", script], check=True, cwd=REPOSITORY)


def test_the_commands_know_directions_and_sizes(needs_tcx, veth, tmp_path):
    """What `check` announces, `attach` does, `dump` shows, and `detach` removes."""

    def typed(command, *options):
        arguments = [sys.executable, "-m", "sidecar", command, "--interface", veth.name, *options]
        done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    flags = ("--direction", "both", "--packet-sizes")
    offline = (*flags, "--no-endpoint", "--state-dir", tmp_path / "state")
    parts = ("", "/sizes", "/transmit", "/transmit/sizes")
    announced = typed("check", *offline)
    assert all(f"ok      interface:{veth.name}{part}: not counted yet: " in announced for part in parts)
    assert "ok      kernel, shipped TCX program: loads, for TCX egress" in announced
    typed("attach", *flags)
    send(veth, 3)
    shown = json.loads(typed("dump", *flags, "--json"))
    assert [source["source"] for source in shown] == [f"interface:{veth.name}{part}" for part in parts]
    assert f"interface:{veth.name}/sizes: map sizes_map" in typed("check", *offline)
    typed("detach")
    assert not veth.pin_directory.exists()
