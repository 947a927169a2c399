# SPDX-License-Identifier: Apache-2.0
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError, SourceError
from sidecar.kernel import elsewhere, libbpf, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.sources import locate
from tests.kernel import links
from tests.kernel.user_program import ROOT
from tests.packet_counter import FIELDS
from tests.waiting import answered, patient


def send(interface, count, size=60):
    """Send frames of an unknown type out of the peer: the interface receives them."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((f"{interface.name}p", 0))
        for _ in range(count):
            raw.send(b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + bytes(size - 14))


def counts(source):
    """Return the newest reading, field by field."""
    ((cells,),) = [source.read()[-1].reading.cells.values()]
    return dict(zip(FIELDS, cells, strict=True))


@pytest.fixture
def source(veth, cleanup):
    opened = locate.source(SourceSpec(MapRef("interface", veth.name, veth.netns)))
    cleanup.callback(opened.close)
    opened.open()
    return opened


def reattach(veth):
    """Make the interface anew, as a driver reload or a container restart does."""
    subprocess.run(["ip", "link", "del", veth.name], check=True)
    subprocess.run(
        ["ip", "link", "add", veth.name, "type", "veth", "peer", "name", f"{veth.name}p"], check=True
    )
    for end in (veth.name, f"{veth.name}p"):
        Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", end, "up"], check=True)


def test_an_attached_interface_counts_what_it_receives(veth, source):
    """Real frames on a real interface, in native mode, are counted to the byte."""
    before = counts(source)
    send(veth, 17, size=100)
    after = counts(source)

    assert after["total_packets"] - before["total_packets"] == 17
    assert after["other_packets"] - before["other_packets"] == 17
    assert after["total_bytes"] - before["total_bytes"] == 1700
    assert " xdp qdisc" in subprocess.check_output(["ip", "link", "show", veth.name], text=True)


def test_counting_continues_while_no_sidecar_runs(veth, source):
    """Link and map are pinned: the kernel keeps counting, and the next sidecar takes over."""
    before = counts(source)["total_packets"]
    map_id = source.open().id
    source.close()
    send(veth, 5)
    successor = locate.source(SourceSpec(MapRef("interface", veth.name, veth.netns)))

    assert successor.open().id == map_id
    assert counts(successor)["total_packets"] - before == 5
    successor.close()


def test_attaching_twice_changes_nothing(veth, source):
    """The second attach keeps the program."""
    prog_id = libbpf.attached_prog_id(socket.if_nametoindex(veth.name))
    xdp.attach(veth)

    assert libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) == prog_id


def detach_the_link(veth):
    fd = bpf.obj_get(str(veth.link_pin))
    bpf.link_detach(fd)
    os.close(fd)


def unpin_the_map(veth):
    veth.map_pin.unlink()


def unpin_the_link(veth):
    veth.link_pin.unlink()


def rename(veth):
    links.rename(veth.name, "xdpotelrenamed")
    links.rename("xdpotelrenamed", veth.name)


def is_untouched(source, looks):
    """Whether three readings went without a look."""
    looks.clear()
    for _ in range(3):
        source.read()
    return not looks


@pytest.mark.parametrize("touch", [detach_the_link, unpin_the_map, unpin_the_link, rename, reattach])
def test_an_attachment_is_looked_at_as_a_whole_once_it_was_touched(veth, source, monkeypatch, touch):
    """Not in each cycle: with hundreds of interfaces, that would be most of the cycle."""
    looks = []
    attach = xdp.attach
    monkeypatch.setattr(xdp, "attach", lambda interface: looks.append(interface) or attach(interface))
    # The kernel's messages about the interface itself may still be coming.
    assert answered(lambda: is_untouched(source, looks))

    touch(veth)
    assert answered(lambda: not is_untouched(source, looks))
    before = counts(source)["total_packets"]
    send(veth, 3)
    assert counts(source)["total_packets"] == before + 3


def test_a_foreign_program_is_named_and_never_replaced(veth, cleanup):
    """The error has the program's name and id, and the program stays."""
    foreign = libbpf.load_packet_counter(frags=False)
    cleanup.callback(foreign.close)
    ifindex = socket.if_nametoindex(veth.name)
    link_fd = bpf.link_create_xdp(foreign.prog_fd, ifindex, 0)
    cleanup.callback(os.close, link_fd)
    prog_id = bpf.prog_info(foreign.prog_fd).id

    with pytest.raises(SourceError, match=rf"carries XDP program 'xdp_count' \(id {prog_id}\).*--map-name"):
        xdp.attach(veth)
    assert libbpf.attached_prog_id(ifindex) == prog_id
    assert not veth.map_pin.exists()


def test_detach_removes_program_and_pins(veth, source):
    """Nothing stays on the interface or in bpffs; a second detach reports that."""
    assert xdp.detach(veth) is True
    assert libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) == 0
    assert not veth.pin_directory.exists()
    assert xdp.detach(veth) is False


def test_a_missing_interface_is_a_one_line_error():
    """It names the interface and how to find the right one."""
    with pytest.raises(SourceError, match=r"cannot attach to nosuchif0: no such interface: `ip link`"):
        xdp.attach(Interface("nosuchif0"))


def test_a_recreated_interface_is_attached_again_and_counts_on(veth, source):
    """The next read attaches the program again, to the same map."""
    send(veth, 3)
    before = counts(source)["total_packets"]
    reattach(veth)
    assert counts(source)["total_packets"] == before
    send(veth, 4)

    assert counts(source)["total_packets"] == before + 4


def test_counts_stay_while_the_interface_is_gone(veth, source):
    """Its source still reads the map, and is stale."""
    send(veth, 3)
    before = counts(source)["total_packets"]
    subprocess.run(["ip", "link", "del", veth.name], check=True)

    assert [counts(source)["total_packets"] for _ in range(3)] == [before] * 3
    assert source.stale == (
        f"cannot attach to {veth.name}: no such interface: `ip link` shows the names; "
        f"continuing with the map that is open, id {source.info.id}"
    )


def test_pins_removed_by_hand_cost_no_counts(veth, source):
    """The old map is read a last time before a new one takes its place."""
    send(veth, 6)
    veth.link_pin.unlink()
    veth.map_pin.unlink()
    # The kernel frees a link some moments after its last pin.
    deadline = time.monotonic() + patient(10)
    while len(readings := source.read()) == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    old, new = readings
    send(veth, 2)
    _, later = source.read()

    assert next(iter(old.reading.cells.values()))[0] == 6
    assert next(iter(new.reading.cells.values()))[0] == 0
    assert next(iter(later.reading.cells.values()))[0] == 2
    source.release(later.identity)
    assert len(source.read()) == 1


def test_an_interface_with_a_dot_in_its_name_can_be_pinned(cleanup, bpffs):
    """VLAN interfaces have one, and bpffs allows none in a name."""
    name = f"xt{uuid.uuid4().hex[:6]}.100"
    subprocess.run(["ip", "link", "add", name, "type", "veth"], check=True)
    cleanup.callback(subprocess.run, ["ip", "link", "del", name], check=True)
    dotted = Interface(name)
    cleanup.callback(xdp.detach, dotted)
    xdp.attach(dotted)

    assert dotted.map_pin.exists()
    assert "." not in dotted.pin_directory.name


def test_an_interface_in_another_namespace_is_attached_from_here(cleanup, bpffs):
    """The sidecar enters the namespace for that and returns."""
    netns = f"xt{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", netns], check=True)
    interface = Interface("lo", netns)
    cleanup.callback(xdp.detach, interface)
    here = os.readlink("/proc/thread-self/ns/net")
    subprocess.run(["ip", "-n", netns, "link", "set", "lo", "up"], check=True)
    source = locate.source(SourceSpec(MapRef("interface", interface.name, interface.netns)))
    cleanup.callback(source.close)
    source.open()
    before = counts(source)
    subprocess.run(
        [
            "nsenter",
            f"--net=/run/netns/{netns}",
            "bash",
            "-c",
            "for n in 1 2 3; do echo x > /dev/udp/127.0.0.1/9; done",
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    after = counts(source)

    assert after["udp_packets"] - before["udp_packets"] == 3
    assert os.readlink("/proc/thread-self/ns/net") == here
    assert libbpf.attached_prog_id(socket.if_nametoindex("lo")) == 0


def test_a_missing_namespace_is_a_one_line_error():
    """It names the namespace."""
    with pytest.raises(SourceError, match="cannot enter network namespace nosuchns: ENOENT"):
        xdp.attach(Interface("eth0", "nosuchns"))


@pytest.fixture
def lock(veth, cleanup):
    """Make an interface's lock, as each sidecar has one."""

    def make():
        made = InterfaceLock(veth)
        cleanup.callback(made.close)
        return made

    return make


def test_an_interface_has_one_sidecar(veth, source, lock):
    """Another one with its own state directory would report the same packets again, so it is refused."""
    one, other = lock(), lock()
    one.acquire()
    refused = rf"another sidecar counts there \(process {os.getpid()}\): stop it"
    with pytest.raises(SourceError, match=refused):
        other.acquire()
    one.acquire()
    one.close()
    other.acquire()


def test_releasing_the_lock_removes_an_empty_directory_only(veth, lock):
    """A directory with pins stays as it is."""
    held = lock()
    held.acquire()
    held.close()
    assert not veth.pin_directory.exists()
    xdp.attach(veth)
    held.acquire()
    held.close()
    assert veth.link_pin.exists()


def test_detach_is_refused_while_a_sidecar_counts(veth, source, lock):
    """The sidecar would attach again in its next cycle; nothing is changed."""
    held = lock()
    held.acquire()
    with pytest.raises(
        SourceError, match=rf"cannot detach from .*: a sidecar counts there \(process {os.getpid()}\): stop"
    ):
        xdp.detach(veth)
    send(veth, 3)
    assert counts(source)["total_packets"] == 3
    held.close()
    assert xdp.detach(veth) is True


def remove_by_hand(veth):
    veth.link_pin.unlink()
    veth.map_pin.unlink()
    veth.pin_directory.rmdir()


def test_pins_removed_under_a_sidecar_admit_no_second_one_beside_it(veth, lock):
    """Even with their directory: one sidecar locks the new directory, and the other reads nothing in it."""
    first, second = lock(), lock()
    spec = SourceSpec(MapRef("interface", veth.name, veth.netns))
    one, other = locate.source(spec, first), locate.source(spec, second)
    old = one.open()
    send(veth, 5)
    remove_by_hand(veth)
    new = opened_when_free(other)
    send(veth, 2)

    assert [snapshot.identity.map_id for snapshot in one.read()] == [old.id]
    assert counts(one)["total_packets"] == 5
    assert counts(other)["total_packets"] == 2
    assert new.id != old.id
    other.close()
    second.close()
    assert [snapshot.identity.map_id for snapshot in one.read()] == [old.id, new.id]
    with pytest.raises(SourceError, match="another sidecar counts there"):
        second.acquire()
    one.close()


def opened_when_free(source):
    """Open a source once the kernel has freed the link that was pinned before."""
    deadline = time.monotonic() + patient(10)
    while True:
        try:
            return source.open()
        except SourceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_map_opened_in_a_directory_that_is_not_locked_is_not_read(veth, lock, monkeypatch):
    """Pins and directory may be replaced between the check of the lock and the opening."""
    held = lock()
    source = locate.source(SourceSpec(MapRef("interface", veth.name, veth.netns)), held)
    attach = xdp.attach

    def replaced_meanwhile(interface):
        attach(interface)
        remove_by_hand(interface)
        attach(interface)

    monkeypatch.setattr(xdp, "attach", replaced_meanwhile)
    with pytest.raises(SourceError, match=f"another process removed {veth.pin_directory} meanwhile"):
        source.open()


def test_the_lock_holds_across_network_namespaces(cleanup, bpffs):
    """It is in bpffs, which they share."""
    inside = Interface("lo", f"xt{uuid.uuid4().hex[:8]}")
    subprocess.run(["ip", "netns", "add", inside.netns], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", inside.netns], check=True)
    cleanup.callback(xdp.detach, inside)
    held = InterfaceLock(inside)
    cleanup.callback(held.close)
    held.acquire()
    found = subprocess.run(
        [
            "nsenter",
            f"--net=/run/netns/{inside.netns}",
            sys.executable,
            "-c",
            HOLD,
            inside.name,
            inside.netns,
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "another sidecar counts there" in found.stderr


HOLD = """
import sys
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.kernel.interface import Interface
InterfaceLock(Interface(*sys.argv[1:])).acquire()
"""


def test_a_removed_map_pin_is_pinned_again(veth, source, caplog):
    """While the sidecar runs and at its start, to the map in which the attached program counts."""
    map_id = source.info.id
    for look in (source.read, source.open):
        send(veth, 4)
        veth.map_pin.unlink()
        look()
        assert source.info.id == map_id
        assert veth.map_pin.exists()
    assert counts(source)["total_packets"] == 8
    assert f"another process removed {veth.map_pin}: pinned it again" in caplog.text


def test_without_the_right_to_find_the_map_a_new_one_takes_its_place(veth, source, caplog, monkeypatch):
    """The program is replaced within its link, so no frame goes uncounted; the old map is read as well."""

    def forbidden(_prog_id):
        raise PermissionError(1, "Operation not permitted")

    send(veth, 4)
    veth.map_pin.unlink()
    monkeypatch.setattr(bpf, "prog_fd_by_id", forbidden)
    old, new = source.read()
    send(veth, 3)

    assert [next(iter(one.reading.cells.values()))[0] for one in (old, new)] == [4, 0]
    assert counts(source)["total_packets"] == 3
    assert "without CAP_SYS_ADMIN its map cannot be found: counting in a new one" in caplog.text


def test_concurrent_attach_and_detach_succeed(veth):
    """Each process does its whole work or finds it done: no traceback, no foreign program."""
    command = [sys.executable, "-m", "sidecar"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    racing = [
        subprocess.Popen(
            [*command, ("attach", "detach")[number % 2], "--interface", veth.name],
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for number in range(max(4, 24 // patient(1)))  # each costs an emulated machine many seconds
    ]
    said = [(one.communicate(timeout=patient(120))[1], one.returncode) for one in racing]

    assert [one for one in said if one[1]] == []
    xdp.attach(veth)
    assert xdp.detach(veth) is True
    assert libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) == 0


def test_a_detach_waits_for_another_one(veth, monkeypatch):
    """Or what the other one has just detached would look attached in another network namespace."""
    xdp.attach(veth)
    place_of = elsewhere.place_of
    others = []

    def with_another(*arguments):
        command = [sys.executable, "-m", "sidecar", "detach", "--interface", veth.name]
        others.append(subprocess.Popen(command, cwd=ROOT))
        with suppress(subprocess.TimeoutExpired):
            others[-1].wait(patient(5))
        return place_of(*arguments)

    monkeypatch.setattr(elsewhere, "place_of", with_another)
    assert xdp.detach(veth) is True
    assert [other.wait(patient(60)) for other in others] == [0]


def test_our_program_without_pins_is_not_called_foreign_at_once(veth):
    """The kernel detaches it a moment after its last pin is removed, and attach waits for that."""
    for _ in range(5):
        xdp.attach(veth)
        remove_by_hand(veth)
    xdp.attach(veth)


def test_an_interface_deleted_meanwhile_is_a_one_line_error(veth, monkeypatch):
    """Whichever errno the kernel returns: ENODEV, EINVAL."""
    load = libbpf.load_packet_counter

    def gone_meanwhile(**how):
        subprocess.run(["ip", "link", "del", veth.name], check=True)
        return load(**how)

    monkeypatch.setattr(libbpf, "load_packet_counter", gone_meanwhile)
    with pytest.raises(SourceError, match=f"cannot attach to {veth.name}: no such interface"):
        xdp.attach(veth)


def test_detach_from_a_deleted_namespace_removes_the_pins(cleanup, bpffs):
    """The interface is gone with the namespace."""
    inside = Interface("lo", f"xt{uuid.uuid4().hex[:8]}")
    subprocess.run(["ip", "netns", "add", inside.netns], check=True)
    xdp.attach(inside)
    subprocess.run(["ip", "netns", "del", inside.netns], check=True)

    assert xdp.detach(inside) is True
    assert not inside.pin_directory.exists()


@pytest.mark.parametrize("mask", [0, 0o077], ids=oct)
def test_directories_get_their_mode_whatever_the_umask(veth, mask):
    """Others can traverse them, but neither read nor lock them."""
    before = os.umask(mask)
    try:
        xdp.attach(veth)
    finally:
        os.umask(before)
    assert veth.pin_directory.stat().st_mode & 0o7777 == 0o711


OTHER = 12345


def planted_directory(path):
    path.mkdir()
    os.chown(path, OTHER, OTHER)


def planted_link(path):
    path.symlink_to("/sys/fs/bpf")


@pytest.mark.parametrize(
    ("plant", "cause"),
    [
        (planted_directory, f"it belongs to user {OTHER}: remove it"),
        (planted_link, "ENOTDIR .*: remove what is there"),
    ],
)
def test_a_directory_of_another_user_is_not_used(veth, cleanup, plant, cause):
    """Its owner could replace the pins in it; nor is a link followed."""
    xdp.attach(veth)
    xdp.detach(veth)
    plant(veth.pin_directory)
    try:
        with pytest.raises(SidecarError, match=cause):
            xdp.attach(veth)
        with pytest.raises(SidecarError, match=cause):
            InterfaceLock(veth).acquire()
        assert libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) == 0
    finally:
        veth.pin_directory.unlink() if veth.pin_directory.is_symlink() else veth.pin_directory.rmdir()


def test_an_interface_of_another_namespace_is_not_mistaken_for_this_one(cleanup, bpffs):
    """Each network namespace has an lo with index 1, and the pins of all are in one bpffs."""
    loopback = Interface("lo")
    if loopback.pin_directory.exists():
        pytest.skip("somebody counts on lo here")
    namespaces = [f"xt{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in namespaces:
        subprocess.run(["ip", "netns", "add", name], check=True)
        cleanup.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
    cleanup.callback(
        subprocess.run, ["nsenter", f"--net=/run/netns/{namespaces[0]}", *DETACH, "lo"], check=True
    )
    first, second = (
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", ATTACH],
            check=False,
            capture_output=True,
            text=True,
        )
        for name in namespaces
    )
    assert (first.returncode, first.stderr) == (0, "")
    assert "belongs to an interface of that name in another netns" in second.stderr
    with pytest.raises(
        SourceError, match=f"our program is attached to lo in network namespace {namespaces[0]}"
    ):
        xdp.detach(loopback)


@pytest.fixture
def other(cleanup, bpffs):
    """A network namespace with an interface of its own, by two names."""
    inside = Interface(f"xt{uuid.uuid4().hex[:8]}", f"xt{uuid.uuid4().hex[:8]}")
    subprocess.run(["ip", "netns", "add", inside.netns], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", inside.netns], check=True)
    add = ["ip", "-n", inside.netns, "link", "add", inside.name, "type", "veth", "peer", "name", "p"]
    subprocess.run(add, check=True)
    return inside


def test_detach_names_the_namespace_of_an_interface(other, cleanup):
    """Its pins are named after it: the line that detaches it is complete."""
    cleanup.callback(xdp.detach, other)
    xdp.attach(other)
    done = subprocess.run([*DETACH, other.name], cwd=ROOT, capture_output=True, text=True, check=False)

    line = f"xdp-otel detach --interface {other.name} --netns {other.netns}"
    assert (done.returncode, done.stderr.partition(" ERROR ")[2]) == (
        3,
        f"cannot detach from {other.name}: our program is attached to {other.name} in network namespace "
        f"{other.netns}: `{line}`\n",
    )
    typed = [sys.executable, "-m", "sidecar", *line.split()[1:]]
    assert subprocess.run(typed, cwd=ROOT, capture_output=True, check=True).returncode == 0
    assert not other.pin_directory.exists()


def test_detach_finds_the_namespace_that_a_sidecar_ran_in(other, cleanup):
    """The pins do not tell; the kernel's list of interfaces there does. Nothing is detached from here."""
    pins = Interface(other.name)
    inside = ["nsenter", f"--net=/run/netns/{other.netns}"]
    attach = ATTACH.replace("lo", other.name)
    subprocess.run([*inside, sys.executable, "-c", attach], cwd=ROOT, capture_output=True, check=True)
    with pytest.raises(SourceError) as caught:
        xdp.detach(pins)

    assert caught.value.cause == f"our program is attached to {other.name} in network namespace {other.netns}"
    line = re.search(f"`(nsenter --net=/run/netns/{other.netns} )xdp-otel (.*)`", caught.value.remedy)
    assert pins.map_pin.exists()
    typed = [*line[1].split(), sys.executable, "-m", "sidecar", *line[2].split()]
    subprocess.run(typed, cwd=ROOT, capture_output=True, check=True)
    assert not pins.pin_directory.exists()


def test_detach_goes_on_after_an_interface_that_is_not_there(veth, source):
    """The others are detached; the exit code is that of the first error."""
    done = subprocess.run(
        [*DETACH, "nosuchif0", "--interface", veth.name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 3
    assert f" INFO {veth.name}: detached, pins removed\n" in done.stderr
    assert done.stderr.endswith(
        " ERROR cannot detach from nosuchif0: no such interface: `ip link` shows the names\n"
    )
    assert not veth.pin_directory.exists()


DETACH = (sys.executable, "-m", "sidecar", "detach", "--interface")

ATTACH = "from sidecar.kernel import interface, xdp; xdp.attach(interface.Interface('lo'))"
