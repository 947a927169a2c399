# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel check`: OK, or the first thing to fix with its exit code; nothing is attached or exported."""

import socket
import subprocess
import sys

import pytest

from demo import stack
from demo.bpf_commands import map_update
from demo.ports import Ports
from sidecar.kernel import libbpf, uapi, xdp
from tests.kernel.compiled import Loaded, compile_object
from tests.kernel.frames import send
from tests.kernel.packets import TCP
from tests.kernel.user_program import COMMAND, ROOT, xdp_otel


@pytest.fixture
def check(tmp_path):
    """Run `check` with a state directory of its own, and without a Collector unless one is named."""

    def run(*arguments, **options):
        rest = [] if "--otel-endpoint" in arguments else ["--no-endpoint"]
        return xdp_otel("check", "--state-dir", tmp_path / "state", *rest, *arguments, **options)

    return run


def test_the_map_is_shown_decoded_and_the_collector_is_tried(flows, tmp_path, check, cleanup):
    """Against a real Collector: a reading, the state directory, the answer, OK; nothing was exported."""
    for at in range(1, 6):
        flows.send(f"192.0.2.{at}", TCP, 10 * at)
    config = tmp_path / "flows.yaml"
    config.write_text(
        f"sources:\n  - pin: {flows.map}\n    key: [{{field: saddr, decoder: ipv4}}]\n"
        "    metrics: [{name: flow.packets, field: packets}]\n"
    )
    ports = Ports.free()
    cleanup.enter_context(stack.collector(tmp_path, ports))
    lines = check("--config", config, "--otel-endpoint", f"127.0.0.1:{ports.otlp}").splitlines()

    assert lines[0].startswith(f"ok      pin:{flows.map}: map flows, id ")
    assert lines[0].endswith(", PERCPU_HASH, 5 of 4,096 keys, 5 series as flows")
    assert lines[1:5] == [
        "        saddr=192.0.2.1: packets 10",
        "        saddr=192.0.2.2: packets 20",
        "        saddr=192.0.2.3: packets 30",
        "        … and 2 more: `xdp-otel dump` shows all",
    ]
    assert lines[-4:] == [
        f"ok      kernel, pin:{flows.map}: reads maps of this kind in batches",
        f"ok      state directory {tmp_path / 'state'}: writable (`run` creates it)",
        f"ok      Collector 127.0.0.1:{ports.otlp} (plaintext): accepts requests",
        "OK",
    ]
    assert not (tmp_path / "state").exists()
    assert "flow_packets" not in exposed(ports)


def exposed(ports):
    with socket.create_connection(("127.0.0.1", ports.metrics)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_an_unreachable_collector_is_code_7(flows, check):
    """With gRPC's message and where to look; --no-endpoint skips it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        said = check("--map-path", flows.map, "--otel-endpoint", address, code=7)

    assert said.startswith(
        f"ERROR cannot reach the Collector at {address} (plaintext): connection refused: nothing listens "
        "there (UNAVAILABLE: "
    )
    assert said.endswith(
        "start the Collector, or correct the address (--otel-endpoint); --no-endpoint skips it\n"
    )
    assert check("--map-path", flows.map).splitlines()[-2:] == [
        "ok      Collector localhost:4317: not contacted (--no-endpoint)",
        "OK",
    ]


def test_an_interface_that_is_not_attached_yet_is_ok_and_stays_so(veth, check):
    """As in an init step, before `run` attaches."""
    first, *rest = check("--interface", veth.name).splitlines()

    assert first == f"ok      interface:{veth.name}: not counted yet: `run` attaches the shipped program"
    assert rest[-1] == "OK"
    at = next(
        at for at, line in enumerate(rest) if line.startswith("ok      kernel, shipped program: loads, with")
    )
    assert rest[at + 1] == "        can be attached by a bpf_link, which outlives the process"
    assert libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) == 0


def test_an_attached_interface_shows_its_counts(veth, check):
    """Of real packets, by interface."""
    xdp.attach(veth)
    send(veth, 21)
    first, counts, *_ = check("--interface", veth.name).splitlines()

    assert first.endswith("PERCPU_ARRAY, 1 of 1 keys, 1 series as packet-counter")
    assert counts.startswith(f"        network.interface.name={veth.name}: total_packets 21, total_bytes ")


def test_another_program_on_the_interface_is_reported(flows, check):
    """With its id, and how its maps can be read instead."""
    name = flows.interface.name

    assert check("--interface", name, code=3) == (
        f"ERROR cannot attach to {name}: it carries another XDP program "
        f"(id {libbpf.attached_prog_id(socket.if_nametoindex(name))}), which is not replaced: "
        f"read its maps instead (--map-name {name}:NAME): `xdp-otel discover` shows how\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--map-path", "/sys/fs/bpf/nosuchpin"],
            3,
            "cannot open map pinned at /sys/fs/bpf/nosuchpin: ENOENT",
        ),
        (["--map-id", "4294967295"], 3, "cannot open map id 4294967295: no such map"),
        (["--interface", "nosuchif0"], 3, "cannot attach to nosuchif0: no such interface: `ip link`"),
        (["--interface", "lo", "--netns", "nosuchns"], 3, "cannot enter network namespace nosuchns: ENOENT"),
        ([], 2, "cannot choose what to read: no source"),
        (["--config", "/nosuchfile"], 2, "cannot read /nosuchfile: "),
        (["--map-id", "1", "--interval", "0"], 2, "cannot use --interval '0': not a time"),
        (["--map-id", "1", "--otel-endpoint", "here"], 2, "cannot use --otel-endpoint"),
        (["--map-id", "1", "--profile", "nosuch"], 2, "cannot use --profile 'nosuch': no built-in profile"),
    ],
)
def test_the_first_problem_is_one_line(check, arguments, code, message):
    """With the exit code that `run` would have."""
    said = check(*arguments, code=code)

    assert said.startswith(f"ERROR {message}")
    assert said.count("\n") == 1


def test_an_unknown_field_is_reported_with_file_and_line(flows, check, tmp_path):
    """And with the nearest name that exists."""
    config = tmp_path / "flows.yaml"
    config.write_text(
        f"sources:\n  - pin: {flows.map}\n    metrics:\n      - {{name: flow.packets, field: pakets}}\n"
    )
    said = check("--config", config, code=2)

    assert said.startswith(f"ERROR {config}:4: field 'pakets': ")
    assert "did you mean 'packets'?" in said


@pytest.mark.parametrize("where", ["file", "file/below", "readonly/state"])
def test_an_unusable_state_directory_is_code_6(flows, tmp_path, cleanup, where):
    """A file in its place or above it, or a read-only file system."""
    (tmp_path / "file").write_text("")
    (tmp_path / "readonly").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", tmp_path / "readonly"], check=True)
    cleanup.callback(subprocess.run, ["umount", tmp_path / "readonly"], check=True)
    said = xdp_otel(
        "check", "--no-endpoint", "--map-path", flows.map, "--state-dir", tmp_path / where, code=6
    )

    assert said.startswith(f"ERROR cannot write into state directory {tmp_path / where}: ")
    assert "name another with --state-dir" in said


@pytest.fixture
def failing(tmp_path):
    """Run `check`; return its exit code, its output and the line of its log."""

    def run(*arguments):
        command = [*COMMAND, "check", "--state-dir", tmp_path / "state", *arguments]
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("place", ["pin", "interface"])
def test_what_a_running_sidecar_holds_is_not_free(veth, tmp_path, failing, place):
    """Its state directory, its status port and its interface: `run` with the same flags would fail."""
    xdp.attach(veth)
    where = ("--map-path", veth.map_pin) if place == "pin" else ("--interface", veth.name)
    status = ("--status-address", f"127.0.0.1:{Ports.free().health}")
    command = [*COMMAND, *where, *status, "--state-dir", tmp_path / "state", "--otel-endpoint", "none"]
    sidecar = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert any("status at http" in line for line in iter(sidecar.stderr.readline, ""))
        code, output, said = failing(*where, *status, "--otel-endpoint", "none")
    finally:
        sidecar.kill()
        sidecar.communicate()

    state, port = f"failed  state directory {tmp_path / 'state'}", f"failed  status endpoint {status[1]}"
    if place == "interface":
        assert code == 3
        assert f"another sidecar counts there (process {sidecar.pid})" in output
    else:
        assert code == 6
        assert said.startswith(f"ERROR cannot lock state directory {tmp_path / 'state'}: in use by process ")
    assert f"{state}: in use by process {sidecar.pid}: " in output
    assert f"{port}: EADDRINUSE " in output
    assert "\nOK\n" not in output


def test_each_failure_has_its_line_and_the_first_its_exit_code(tmp_path, failing):
    """`check` goes on: with one look all that is to be mended is known."""
    (tmp_path / "state").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        status, collector = (f"127.0.0.1:{each.getsockname()[1]}" for each in (taken, unused))
        flags = ("--status-address", status, "--otel-endpoint", collector)
        code, output, said = failing(
            "--map-path", "/sys/fs/bpf/nosuchpin", "--interface", "nosuchif0", *flags
        )

    assert code == 3
    assert [line.split()[1] for line in output.splitlines() if line.startswith("failed")] == [
        "interface:nosuchif0:",
        "pin:/sys/fs/bpf/nosuchpin:",
        "state",
        "status",
        "Collector",
    ]
    assert said.startswith("ERROR cannot attach to nosuchif0: no such interface: ")
    assert said.count("\n") == 1


def test_a_busy_status_port_alone_is_code_8(flows, failing, tmp_path):
    """As of `run`: systemd starts it again, which it does not after an error of the configuration."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ("--map-path", flows.map, "--status-address", address, "--otel-endpoint", "none")
        code, output, said = failing(*flags)
        run = ("run", *flags, "--state-dir", tmp_path / "other")
        ran = xdp_otel(*run, code=8)

    assert code == 8
    assert f"cannot serve status on {address}: EADDRINUSE " in ran
    assert f"failed  status endpoint {address}: EADDRINUSE (Address already in use): end what" in output
    assert said.startswith(f"ERROR cannot serve status on {address}: EADDRINUSE ")


def test_a_damaged_journal_is_reported_and_stays(flows, tmp_path, check):
    """`run` sets it aside and starts; `check` changes nothing."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "journal").write_bytes(b"damaged")
    text = check("--map-path", flows.map)

    assert "not in use, journal damaged (" in text
    assert [path.name for path in state.iterdir()] == ["journal"]


def test_a_number_that_otlp_cannot_encode_is_not_ok(make_map, make_pin, check):
    """A counter that was decremented below zero: `run` would export nothing of this map."""
    fd = make_map(uapi.MAP_ARRAY)
    map_update(fd, bytes(4), b"\xff" * 64)
    said = check("--map-path", make_pin(fd), "--profile", "packet-counter", code=3)

    assert said.splitlines()[-1] == (
        "ERROR cannot encode field total_packets: 18446744073709551615 exceeds 2^63-1, the largest integer "
        "in OTLP, so it is no count, or was decremented: list the other fields under `metrics:` in a "
        "configuration file, or make it an updowncounter"
    )


def test_two_sources_of_the_same_streams_are_told_apart(make_map, make_pin, check):
    """As `run` does it; otherwise they would write the same OTLP stream."""
    pins = [make_pin(make_map(uapi.MAP_ARRAY)) for _ in range(2)]
    arguments = [part for pin in pins for part in ("--map-path", pin)]
    said = check(*arguments, "--profile", "packet-counter")

    assert [f"xdp.source=pin:{pin}: total_packets 0" in said for pin in pins] == [True, True]


def test_a_metric_that_is_a_counter_in_one_source_only_is_refused(make_map, make_pin, check, tmp_path):
    """Prometheus keeps one type for a metric, and its exporter drops the points of the other."""
    pins = [make_pin(make_map(uapi.MAP_ARRAY)) for _ in range(2)]
    config = tmp_path / "kinds.yaml"
    config.write_text(
        "sources:\n"
        + "".join(
            f"- pin: {pin}\n  layout: {{value: 'u64[8]'}}\n"
            f"  metrics: [{{name: {name}, field: value.0, kind: {kind}}}]\n"
            for pin, name, kind in zip(pins, ("a.b", "a_b"), ("counter", "gauge"), strict=True)
        )
    )
    said = check("--config", config, code=2)

    assert said.startswith(
        f"ERROR cannot read pin:{pins[1]} and pin:{pins[0]}: metric 'a_b' is a counter in only one of"
    )


def test_the_configuration_may_rename_an_interface(veth, check, tmp_path):
    """Its attribute replaces the interface's own name, as it does for `run`."""
    xdp.attach(veth)
    config = tmp_path / "named.yaml"
    config.write_text(
        f"sources: [{{interface: {veth.name}, attributes: {{network.interface.name: uplink}}}}]\n"
    )
    said = check("--config", config)

    assert "network.interface.name=uplink: total_packets" in said
    assert "network.interface.name=xt" not in said


def test_a_capability_that_attaching_needs_is_missed_beforehand(veth, check):
    """Without CAP_NET_ADMIN the check of an interface fails with the exit code for rights and names it."""
    prefix = ("setpriv", "--bounding-set=-net_admin,-bpf,-sys_admin", "--inh-caps=-all")
    said = check("--interface", veth.name, code=4, prefix=prefix)

    assert said == (
        f"ERROR cannot attach to {veth.name}: without CAP_BPF and CAP_NET_ADMIN: "
        "run as root, or add the missing capabilities\n"
    )


def test_grpc_is_loaded_only_for_the_collector(flows, tmp_path):
    """`check --no-endpoint`, `dump` and `discover` start without gRPC and the OTLP classes."""
    program = (
        "import sys; from sidecar.cli import main; code = main(sys.argv[1:]); "
        "print({name.partition('.')[0] for name in sys.modules} & {'grpc', 'opentelemetry', 'google'}); "
        "sys.exit(code)"
    )
    for arguments in (
        ["check", "--no-endpoint", "--map-path", flows.map, "--state-dir", tmp_path / "state"],
        ["dump", "--map-path", flows.map],
        ["discover"],
        ["top", "--map-path", flows.map, "--iterations", "1", "--interval", "0.1"],
    ):
        command = [sys.executable, "-c", program, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

        assert done.stdout.splitlines()[-1] == "set()", arguments[0]


UPGRADED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct key {{ {key} }};
struct rec {{ {value} }};
struct {{
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct key);
	__type(value, struct rec);
}} counts SEC(".maps");
SEC("xdp") int prog(struct xdp_md *c)
{{
	struct key k = {{}};
	(void)c;
	return bpf_map_lookup_elem(&counts, &k) ? XDP_PASS : XDP_DROP;
}}
char _license[] SEC("license") = "GPL";
"""
FIRST = ("__u8 proto; __u32 port;", "__u64 packets, bytes;")


@pytest.fixture
def upgrade(tmp_path, cleanup, make_pin):
    """Load a program whose map has this key and value, and pin the map in the place of the last one."""
    pin = None

    def to(key, value):
        nonlocal pin
        source = tmp_path / "upgraded.bpf.c"
        source.write_text(UPGRADED.format(key=key, value=value))
        fd = cleanup.enter_context(Loaded(compile_object(source, tmp_path / "upgraded.o"))).maps["counts"]
        if pin:
            pin.unlink()
        pin = make_pin(fd, pin)
        return pin, fd

    return to


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            FIRST[0],
            "__u64 bytes, packets;",
            "it has packets at byte 0 (8 long) of the value, by BTF it is",
        ),
        (
            FIRST[0],
            "__u64 packets, drops;",
            "it has bytes at byte 8 (8 long) of the value, by BTF that is",
        ),
        ("__u32 port; __u8 proto;", FIRST[1], "it has proto at byte 0 (1 long) of the key, by BTF it is at"),
    ],
)
def test_a_stale_layout_is_refused(check, upgrade, tmp_path, key, value, said):
    """BTF shows that it is of another version with the same size: exit code 3 of check, dump and run."""
    pin, _ = upgrade(*FIRST)
    config = tmp_path / "written.yaml"
    config.write_text(xdp_otel("discover", "--write-config", pin, "--with-layout"))
    check("--config", config)
    upgrade(key, value)

    for refused in (
        check("--config", config, code=3),
        xdp_otel("dump", "--config", config, code=3),
        xdp_otel("run", "--once", "--state-dir", tmp_path / "state", "--config", config, code=3),
    ):
        assert f"{config}:" in refused
        assert f"the layout for map counts: {said}" in refused


def test_keys_that_differ_only_in_padding_share_a_series(check, upgrade, tmp_path):
    """Bytes between two members have no name; their counts are added up, and `check` reports that."""
    pin, fd = upgrade(*FIRST)
    for padding, packets in ((b"\0\0\0", 10), (b"\1\2\3", 32)):
        map_update(fd, b"\6" + padding + bytes((187, 1, 0, 0)), packets.to_bytes(8, "little") + bytes(8))
    said = "2 keys yield 1 series: keys that differ only in padding are aggregated"
    nowhere = ("--otel-endpoint", "none", "--status-address", f"127.0.0.1:{Ports.free().health}")
    run = ("run", "--once", *nowhere, "--state-dir", tmp_path / "state", "--map-path", pin)
    logged = subprocess.run([*COMMAND, *map(str, run)], cwd=ROOT, capture_output=True, text=True, check=True)

    assert f"        {said}" in check("--map-path", pin).splitlines()
    heading, note, _, row = xdp_otel("dump", "--map-path", pin).splitlines()
    assert heading.endswith("2 keys, 1 series")
    assert (note, row.split()) == (said, ["tcp", "443", "42", "0"])
    assert logged.stderr.count(f"WARNING pin:{pin}: {said}") == 1
