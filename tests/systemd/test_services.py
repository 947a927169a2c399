# SPDX-License-Identifier: Apache-2.0
"""deploy/systemd, installed and run in a container with systemd as its first process."""

import re
import time

import pytest

from demo.frames import every_kind
from tests.systemd import machine

FRAMES = list(every_kind(b"\x02\0\0\0\0\x01").values())
BPF, NET_ADMIN, SYS_ADMIN, DAC_READ_SEARCH = 1 << 39, 1 << 12, 1 << 21, 1 << 2
# The "exposure" of `systemd-analyze security`, 0 to 10, in tenths.
HIGHEST_EXPOSURE = {"xdp-otel": 17, "otelcol-xdp": 12}


def status(unit):
    text = machine.call("cat", f"/proc/{machine.show(unit, 'MainPID')}/status")
    return dict(line.split(":\t", 1) for line in text.splitlines())


def configure(line):
    """Replace the sidecar's sources."""
    machine.call(
        "sed", "-i", f"s|^XDP_OTEL_SOURCES=.*|XDP_OTEL_SOURCES={line}|", "/etc/xdp-otel/xdp-otel.env"
    )


def drop_in(name):
    source = f"{machine.SOURCE}/deploy/systemd/drop-ins/{name}"
    machine.call("install", "-D", "-m", "644", source, f"/etc/systemd/system/xdp-otel.service.d/{name}")
    machine.call("systemctl", "daemon-reload")


@pytest.mark.parametrize("unit", ["xdp-otel", "otelcol-xdp"])
def test_a_service_runs_and_its_unit_is_valid(installed, unit):
    """The unit is active, and systemd-analyze finds no fault."""
    assert f"running   {unit}" in installed
    verified = machine.execute("systemd-analyze", "verify", f"{unit}.service")
    assert (0, "") == (verified.returncode, verified.stderr)


@pytest.mark.parametrize("unit", ["xdp-otel", "otelcol-xdp"])
def test_a_service_is_hardened(installed, unit, record_property, capsys):
    """Its exposure, which is printed, has not increased."""
    found = machine.said("systemd-analyze", "security", "--no-pager", f"{unit}.service")
    exposure = float(re.search(r"exposure level for .*: ([0-9.]+)", found).group(1))
    with capsys.disabled():
        print(f"\nsystemd-analyze security {unit}.service: {exposure}")  # noqa: T201

    assert HIGHEST_EXPOSURE[unit] >= exposure * 10


def test_the_sidecar_has_two_capabilities_and_no_root(installed):
    """Only CAP_BPF and CAP_NET_ADMIN, as a user who is not root and cannot become root."""
    found = status("xdp-otel")

    for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert BPF | NET_ADMIN == int(found[key], 16)
    assert "0" not in found["Uid"].split()
    assert ("1", "2") == (found["NoNewPrivs"], found["Seccomp"])


def test_the_collector_has_no_capability(installed):
    """It runs as a dynamic user."""
    found = status("otelcol-xdp")

    assert 0 == int(found["CapPrm"], 16) | int(found["CapBnd"], 16)
    assert "0" not in found["Uid"].split()


def test_the_collector_serves_what_the_kernel_counted(installed):
    """In the full sandbox, frames are counted, read and served to the packet."""
    machine.send(FRAMES * 10)

    counted = machine.kernel()
    assert len(FRAMES) * 10 == counted["total_packets"]
    assert counted == machine.wait_until_served(counted)


def test_installing_again_changes_nothing(installed):
    """A second run installs no file, restarts no process and modifies nothing."""
    before = machine.files(times=True)
    process = machine.show("xdp-otel", "MainPID")

    said = machine.install(machine.INTERFACE)

    assert "installed" not in said
    assert process == machine.show("xdp-otel", "MainPID")
    # The running sidecar writes its journal.
    assert [] == [line for line in before ^ machine.files(times=True) if "/var/lib/xdp-otel" not in line]


@pytest.mark.parametrize("unit", ["xdp-otel", "otelcol-xdp"])
def test_a_killed_service_is_restarted_without_loss(installed, unit):
    """Frames from before and after a SIGKILL are all served, each once."""
    before = machine.kernel()["total_packets"]

    machine.send(FRAMES)
    assert machine.restarted(unit)
    machine.send(FRAMES)

    counted = machine.kernel()
    assert before + 2 * len(FRAMES) == counted["total_packets"]
    assert counted == machine.wait_until_served(counted)


def test_a_stopped_process_is_restarted_by_the_watchdog_without_loss(installed):
    """SIGSTOP: no step feeds the watchdog any more. It waits for two deadlines of a call, 20 s."""
    before = machine.kernel()["total_packets"]
    directory = "/run/systemd/system/xdp-otel.service.d"
    machine.call("mkdir", "-p", directory)
    machine.call("sh", "-c", f"printf '[Service]\\nWatchdogSec=5\\n' > {directory}/watchdog.conf")
    try:
        machine.call("systemctl", "daemon-reload")
        machine.call("systemctl", "restart", "xdp-otel")
        process = machine.show("xdp-otel", "MainPID")

        machine.send(FRAMES)
        machine.call("kill", "-STOP", process)
        machine.send(FRAMES)
        machine.wait(lambda: machine.show("xdp-otel", "Result") == "watchdog", 120)
        machine.wait(lambda: machine.show("xdp-otel", "ActiveState") == "active")
        assert process != machine.show("xdp-otel", "MainPID")
    finally:
        machine.call("rm", "-r", directory)
        machine.call("systemctl", "daemon-reload")

    counted = machine.kernel()
    assert before + 2 * len(FRAMES) == counted["total_packets"]
    assert counted == machine.wait_until_served(counted)


def test_a_reload_reads_the_file_again_in_the_same_process(installed):
    """`systemctl reload`: the interface gets another attribute, and the log and the status say so."""
    file = "/etc/xdp-otel/sources.yaml"
    text = f"sources:\n  - interface: {machine.INTERFACE}\n"
    machine.call("sh", "-c", f"cat > {file}", input=text)
    configure(f"--config={file}")
    try:
        machine.call("systemctl", "restart", "xdp-otel")
        process = machine.show("xdp-otel", "MainPID")
        machine.call("sh", "-c", f"cat >> {file}", input="    attributes: {site: reloaded}\n")
        machine.call("systemctl", "reload", "xdp-otel")
        lines = ("journalctl", "--unit", "xdp-otel", "--output=cat", f"_PID={process}")
        machine.wait(lambda: "reloaded: " in machine.said(*lines))
        machine.wait(lambda: "batches delivered: " in machine.show("xdp-otel", "StatusText"))

        assert "reloaded: sources added or changed: 1, removed: 0, now: 1" in machine.said(*lines)
        assert process == machine.show("xdp-otel", "MainPID")
        assert "active" == machine.show("xdp-otel", "ActiveState")
        assert "batches delivered: " in machine.show("xdp-otel", "StatusText")
    finally:
        machine.call("rm", file)
        machine.install(machine.INTERFACE)
        configure(f"--interface={machine.INTERFACE}")
        machine.call("systemctl", "restart", "xdp-otel")


def test_an_invalid_configuration_is_not_retried(installed):
    """Exit code 2 leaves the unit failed; a corrected file and a start recover it."""
    configure("--interface")
    assert machine.execute("systemctl", "restart", "xdp-otel").returncode != 0
    machine.wait(lambda: machine.show("xdp-otel", "ActiveState") == "failed")
    assert ("failed", "2") == (
        machine.show("xdp-otel", "ActiveState"),
        machine.show("xdp-otel", "ExecMainStatus"),
    )

    machine.install(machine.INTERFACE)
    assert "active" == machine.show("xdp-otel", "ActiveState")


def test_a_missing_interface_is_retried(installed):
    """Exit code 3 is retried every five seconds."""
    configure(f"--interface={machine.INTERFACE} --interface=later.0")
    assert machine.execute("systemctl", "restart", "xdp-otel").returncode != 0
    machine.wait(lambda: machine.show("xdp-otel", "NRestarts") != "0")
    machine.call("ip", "link", "add", "later.0", "type", "veth", "peer", "name", "later1")
    machine.wait(lambda: machine.execute("test", "-e", "/sys/fs/bpf/xdp-otel/later%2E0/link").returncode == 0)

    assert "active" == machine.show("xdp-otel", "ActiveState")


@pytest.mark.parametrize(
    ("name", "source", "capabilities"),
    [
        ("pins.conf", "--map-path=/sys/fs/bpf/users_map", BPF | DAC_READ_SEARCH),
        ("names.conf", "--map-name=users_map", BPF | NET_ADMIN | SYS_ADMIN),
    ],
)
def test_a_drop_in_grants_the_capabilities_of_its_source(installed, name, source, capabilities):
    """A map created and pinned by root is read with exactly these capabilities."""
    pin = "/sys/fs/bpf/users_map"
    if machine.execute("test", "-e", pin).returncode != 0:
        kind = ["type", "array", "key", "4", "value", "64", "entries", "1", "name", "users_map"]
        machine.call("bpftool", "map", "create", pin, *kind)
        machine.call("chmod", "0600", pin)
    configure(f"{source} --profile packet-counter --interval 1")
    drop_in(name)
    machine.call("systemctl", "restart", "xdp-otel")
    machine.wait(lambda: "map users_map" in machine.said("journalctl", "--unit", "xdp-otel", "--lines", "20"))

    try:
        assert "active" == machine.show("xdp-otel", "ActiveState")
        assert capabilities == int(status("xdp-otel")["CapEff"], 16)
    finally:
        machine.call("rm", "-r", "/etc/systemd/system/xdp-otel.service.d")
        machine.call("systemctl", "daemon-reload")
    machine.install(machine.INTERFACE)


LARGE_MAP = """\
sources:
  - pin: /sys/fs/bpf/large_map
    layout: {key: {slot: u32}, value: {packets: u64}}
"""


def test_a_large_map_is_read_in_the_sandbox(installed):
    """The sandbox allows numpy and its libraries, which only large maps need."""
    machine.call(
        *("bpftool", "map", "create", "/sys/fs/bpf/large_map", "type", "array", "name", "large_map"),
        *("key", "4", "value", "8", "entries", "5000"),
    )
    machine.call("tee", "/etc/xdp-otel/large.yaml", input=LARGE_MAP)
    configure("--config=/etc/xdp-otel/large.yaml --interval 1")
    drop_in("pins.conf")
    machine.call("systemctl", "restart", "xdp-otel")
    lines = ("journalctl", "--unit", "xdp-otel", "--lines", "20")
    reads_all = "map large_map, id ", "delivered packets: 0 | Rate: 0.00 packets/s | "
    machine.wait(lambda: all(text in machine.said(*lines) for text in reads_all))

    try:
        assert [text for text in reads_all if text not in machine.said(*lines)] == []
        time.sleep(3)
        assert "active" == machine.show("xdp-otel", "ActiveState"), machine.said(*lines)
        assert "0" == machine.show("xdp-otel", "NRestarts"), machine.said(*lines)
    finally:
        machine.call("rm", "-r", "/etc/systemd/system/xdp-otel.service.d", "/sys/fs/bpf/large_map")
        machine.call("rm", "/etc/xdp-otel/large.yaml")
        machine.call("systemctl", "daemon-reload")
    machine.install(machine.INTERFACE)


def test_uninstalling_keeps_the_state(installed):
    """Program and units are gone, but a new installation continues the counters."""
    before = machine.kernel()
    machine.uninstall()

    for gone in (
        "/opt/xdp-otel",
        "/etc/systemd/system/xdp-otel.service",
        f"/sys/fs/bpf/xdp-otel/{machine.INTERFACE}",
    ):
        assert machine.execute("test", "-e", gone).returncode != 0
    for interface in (machine.INTERFACE, "later.0"):
        assert "prog/xdp" not in machine.call("ip", "link", "show", interface)

    machine.install(machine.INTERFACE)
    machine.assert_counters_continue(before, FRAMES)


def test_purging_leaves_the_machine_as_it_was(pristine, installed):
    """`uninstall --purge` restores every file, user and directory from before the installation."""
    machine.uninstall("--purge")

    assert pristine == machine.files()
    assert machine.execute("getent", "passwd", "xdp-otel").returncode != 0
