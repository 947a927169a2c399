# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel discover` on real programs, maps and pins; bpftool is the oracle."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from demo.bpf_commands import map_create, map_update
from sidecar.commands.discover import inventory, report
from sidecar.kernel import libbpf, uapi
from sidecar.kernel import syscall as bpf
from tests.kernel.compiled import MAPS, Loaded, compile_object
from tests.kernel.packets import TCP, UDP
from tests.kernel.user_program import ROOT, UserProgram, bpftool, xdp_otel

RINGBUF = 27


def discovered(*arguments, **options):
    return json.loads(xdp_otel("discover", "--json", *(arguments or ("--all",)), **options))


def of_pin(found, path):
    (one,) = [one for one in found["maps"] if str(path) in one["pins"]]
    return one


def on(found, interface):
    return [one for one in found["interfaces"] if one["interface"] == interface.name]


@pytest.fixture
def odd(tmp_path, cleanup, make_pin):
    """The maps of maps/odd.bpf.c by name, each with its descriptor and a pin."""
    path = compile_object(MAPS / "odd.bpf.c", tmp_path / "odd.o")
    loaded = cleanup.enter_context(Loaded(path))
    return {name: (fd, make_pin(fd)) for name, fd in loaded.maps.items()}


def test_a_users_program_is_found_with_its_map(flows):
    """By interface: the program's mode, name and id, and what bpftool and BTF show of the map."""
    flows.send("192.0.2.7", TCP, 1)
    flows.send("192.0.2.8", UDP, 1)
    found = discovered()
    program = bpftool("prog", "show", "pinned", flows.program)
    told = bpftool("map", "show", "pinned", flows.map)
    flow = of_pin(found, flows.map)

    assert on(found, flows.interface) == [
        {
            "interface": flows.interface.name,
            "ifindex": bpftool("net", "show", "dev", flows.interface.name)[0]["xdp"][0]["ifindex"],
            "netns": None,
            "mode": "native",
            "program": program["name"],
            "program_id": program["id"],
            "map_ids": sorted(program["map_ids"]),
            "under": [],
        }
    ]
    assert (flow["id"], flow["name"]) == (told["id"], told["name"])
    assert flow["kind"].lower() == told["type"]
    assert (flow["key_size"], flow["value_size"]) == (told["bytes_key"], told["bytes_value"])
    assert (flow["max_entries"], flow["entries"], flow["more_entries"]) == (told["max_entries"], 2, False)
    assert [(part["name"], part["type"]) for part in flow["key"]] == [("saddr", "__be32"), ("proto", "__u8")]
    assert [(part["name"], part["type"], part["bit_offset"], part["bits"]) for part in flow["value"]] == [
        ("packets", "__u64", 0, 64),
        ("bytes", "__u64", 64, 64),
        ("fragments", "__u32", 128, 32),
    ]
    assert flow["pins"] == [str(flows.map)]
    assert flow["programs"] == ["xdp_flows"]
    assert (flow["readable"], flow["flag"]) == (True, ["--map-path", str(flows.map)])


def test_the_table_shows_the_same(flows):
    """The interface, the program, the map, its fields and the flag to use."""
    flows.send("192.0.2.7", TCP, 1)
    lines = xdp_otel("discover").splitlines()
    (program,) = [line.split() for line in lines if line.split()[:1] == [flows.interface.name]]
    at = lines.index(f"  read it  --map-path {flows.map}")

    assert program[1:3] == ["native", "xdp_flows"]
    assert program[4:] == ["flows"]
    assert lines[at - 4].startswith("Map flows  id ")
    assert lines[at - 4].endswith("  PERCPU_HASH  1 of 4,096 keys")
    assert lines[at - 3 : at] == [
        "  key      8 B: saddr __be32, proto __u8",
        "  value    24 B: packets __u64, bytes __u64, fragments __u32",
        "  used by  xdp_flows",
    ]


def test_only_what_is_attached_is_shown_unless_all_is_asked_for(flows, make_map, make_pin):
    """Pinned maps of others are counted, and left to --all; an interface or a name narrows it further."""
    lonely = make_pin(make_map(uapi.MAP_ARRAY, name="lonely"))
    text = xdp_otel("discover")
    everything = {one["id"] for one in discovered("--all")["maps"]}
    by_default = json.loads(xdp_otel("discover", "--json"))
    name = flows.interface.name

    assert (str(flows.map) in text, str(lonely) in text) == (True, False)
    assert "(--all); other network" in " ".join(text.split())
    assert str(lonely) in xdp_otel("discover", "--all")
    assert by_default["not_shown"]["maps"] == len(everything - {one["id"] for one in by_default["maps"]})
    for chosen in (["--interface", name], ["--interface", f"{name[:-1]}[{name[-1]}]"], [flows.directory]):
        found = discovered(*chosen)
        assert [one["interface"] for one in found["interfaces"]] == [name], chosen
        assert str(flows.map) in str(found["maps"])
        assert str(lonely) not in str(found["maps"])
    assert [one["pins"] for one in discovered("lonely")["maps"]] == [[str(lonely)]]
    assert discovered("--interface", f"{name}p")["maps"] == []
    assert "No XDP or TCX program" in xdp_otel("discover", "--interface", f"{name}p")
    assert xdp_otel("discover", "nosuchmap", code=3).startswith("ERROR cannot find nosuchmap: no such map, ")


def test_tcx_programs_are_shown_in_their_order(veth, bpffs, tmp_path, cleanup):
    """They count on interfaces as well, in both directions."""
    source = tmp_path / "tcx.bpf.c"
    source.write_text(TCX)
    directory = bpffs / f"test-{uuid.uuid4().hex[:12]}"
    load = ["bpftool", "prog", "loadall", compile_object(source, tmp_path / "tcx.o"), directory]
    subprocess.run([*load, "pinmaps", directory / "maps"], check=True, capture_output=True)
    cleanup.callback(subprocess.run, ["rm", "-r", directory], check=True)
    for program, direction in (("first", "ingress"), ("second", "ingress"), ("second", "egress")):
        fd = bpf.obj_get(str(directory / program))
        link = uapi.LinkCreate(fd, socket.if_nametoindex(veth.name), tcx := TCX_TYPES[direction])
        try:
            cleanup.callback(os.close, bpf.call(uapi.LINK_CREATE, link))
        except OSError as error:
            pytest.skip(f"no TCX here, attach type {tcx}: {error}")
        finally:
            os.close(fd)
    found = discovered("--interface", veth.name)
    (counts,) = found["maps"]

    assert [(one["mode"], one["program"]) for one in found["interfaces"]] == [
        ("tcx ingress", "first"),
        ("tcx ingress", "second"),
        ("tcx egress", "second"),
    ]
    assert (counts["name"], counts["programs"]) == ("tcx_counts", ["first", "second"])
    assert "XDP and TCX programs" in xdp_otel("discover", "--interface", veth.name)


TCX_TYPES = {"ingress": uapi.ATTACH_TCX_INGRESS, "egress": uapi.ATTACH_TCX_EGRESS}
TCX = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tcx_counts SEC(".maps");
static int count(void)
{
	__u32 key = 0;
	__u64 *packets = bpf_map_lookup_elem(&tcx_counts, &key);
	if (packets)
		(*packets)++;
	return -1;
}
SEC("tc") int first(struct __sk_buff *skb) { (void)skb; return count(); }
SEC("tc") int second(struct __sk_buff *skb) { (void)skb; return count(); }
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("long", [False, True], ids=["short pin", "long pin"])
def test_the_last_lines_can_be_pasted(flows, tmp_path, cleanup, long):
    """Each command works as it is printed, without a Collector; no line is longer than 80 columns."""
    flows.send("192.0.2.7", TCP, 3)
    pin = flows.map
    if long:
        directory = flows.directory / ("d" * 100) / "it's $HOME"
        directory.mkdir(parents=True)
        pin = flows.map.rename(directory / ("m" * 100))
    text = xdp_otel("discover", "--interface", flows.interface.name)
    (tmp_path / "xdp-otel").write_text(f'#!/bin/sh\nexec {sys.executable} -m sidecar "$@"\n')
    (tmp_path / "xdp-otel").chmod(0o755)
    pasted = text[text.index("  xdp-otel top ") :]
    top, dump, run = re.split("(?m)^  (?=xdp-otel (?:dump|run))", pasted)

    assert [line for line in text.splitlines() if len(line) > 80] == []
    path = f"{tmp_path}:{os.environ['PATH']}"

    def paste(command):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env={"PATH": path, "XDP_OTEL_STATE_DIR": str(tmp_path / "state")},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    assert f"pin:{pin}: map flows, " in paste(dump)
    assert "per second" in paste(f"{top.rstrip()} --iterations 1")
    # Another test may use the port.
    assert f"pin:{pin}: map flows, " in paste(run.rstrip().replace(":9464", ":0") + " --once")


@pytest.fixture
def nobody(cleanup):
    """Run the command as a user without any right; return its code, output and errors."""

    def run(*arguments):
        command = [sys.executable, LAUNCHER, "65534", "65534", "", *map(str, arguments)]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


LAUNCHER = Path(__file__).with_name("with_rights.py")


@pytest.mark.parametrize("more", [[], ["--all"], ["--interface", "IF"], ["NAME"]], ids=" ".join)
def test_without_rights_nothing_visible_is_not_nothing(flows, nobody, more):
    """Exit code 4 and what to do; never that there is none. JSON has the same line as its `error`."""
    flows.directory.chmod(0o700)
    more = [{"IF": flows.interface.name, "NAME": "flows"}.get(word, word) for word in more]
    code, text, said = nobody("discover", *more)
    json_code, document, also_said = nobody("discover", "--json", *more)

    assert (code, json_code) == (4, 4)
    assert "nothing visible with these rights: CAP_SYS_ADMIN is missing: run as root, or with" in said
    assert said.endswith("; or get read permission on a pin (docs/rights.md)\n")
    assert also_said == said
    assert "No " not in text
    if more != ["flows"]:
        assert flows.interface.name in text  # rtnetlink shows the programs' ids to everyone
        found = json.loads(document)
        assert f"ERROR {found['error']}\n" == said
        assert flows.interface.name in str(found["interfaces"])


def test_without_rights_a_readable_pin_is_shown_with_its_next_command(flows, nobody, make_map, make_pin):
    """Whether it belongs to a program on an interface cannot be known."""
    pin = make_pin(make_map(uapi.MAP_PERCPU_ARRAY, name="stats_map"))
    pin.chmod(0o644)
    code, text, said = nobody("discover")

    assert code == 0, said
    assert f"  read it  --map-path {pin}" in text
    assert "run with CAP_SYS_ADMIN; only pins are shown" in said
    last = text[text.index("  xdp-otel run ") :].replace("\\\n", "")
    (pasted,) = [shlex.split(line) for line in last.splitlines()]
    code, _, said = nobody(*pasted[1:], "--once")
    assert code == 0, said
    assert f"pin:{pin}: map stats_map, " in said


def test_generic_mode_is_distinguished_from_native(veth, bpffs, tmp_path, cleanup):
    """As in `ip link`: xdpgeneric."""
    program = UserProgram(veth, bpffs / f"test-{uuid.uuid4().hex[:12]}", tmp_path, mode="xdpgeneric")
    cleanup.callback(program.close)

    assert [one["mode"] for one in on(discovered(), veth)] == ["generic"]


def test_netns_adds_the_interfaces_of_a_namespace(veth, bpffs, tmp_path, cleanup):
    """Without --netns the program is listed as being elsewhere."""
    netns = f"xt{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", netns], check=True)
    program = cleanup.enter_context(libbpf.load_packet_counter())
    subprocess.run(["ip", "-n", netns, "link", "add", veth.name, "type", "veth"], check=True)
    path = bpffs / f"test-{uuid.uuid4().hex[:12]}"
    bpf.obj_pin(program.prog_fd, str(path))
    cleanup.callback(path.unlink)
    # Not `ip netns exec`, which has a /sys of its own, without bpffs.
    inside = ["nsenter", f"--net=/run/netns/{netns}"]
    subprocess.run([*inside, "ip", "link", "set", veth.name, "xdp", "pinned", path], check=True)
    prog_id = bpf.prog_info(program.prog_fd).id
    here, there = discovered(), discovered("--all", "--netns", netns)

    assert on(here, veth) == []
    assert prog_id in [one["program_id"] for one in here["elsewhere"]]
    assert [(one["netns"], one["program_id"]) for one in on(there, veth)] == [(netns, prog_id)]
    assert prog_id not in [one["program_id"] for one in there["elsewhere"]]


def test_a_missing_namespace_is_a_one_line_error():
    """With the exit code for a missing source."""
    assert "enter network namespace nosuchns: ENOENT" in xdp_otel("discover", "--netns", "nosuchns", code=3)


def test_programs_under_a_dispatcher_are_shown_in_their_order(veth, bpffs, cleanup):
    """The programs that libxdp pinned for a dispatcher belong to its interface, and so do their maps."""
    dispatcher, first, second = (cleanup.enter_context(libbpf.load_packet_counter()) for _ in range(3))
    ifindex = socket.if_nametoindex(veth.name)
    link_fd = bpf.link_create_xdp(dispatcher.prog_fd, ifindex, 0)
    cleanup.callback(bpf.link_detach, link_fd)
    prog_id = bpf.prog_info(dispatcher.prog_fd).id
    # Where libxdp has them, with xdp/ instead of a name that is the test's own.
    directory = bpffs / f"test-{uuid.uuid4().hex[:12]}" / f"dispatch-{ifindex}-{prog_id}"
    directory.mkdir(parents=True)
    cleanup.callback(subprocess.run, ["rm", "-r", directory.parent], check=True)
    bpf.obj_pin(second.prog_fd, str(directory / "prog1-prog"))
    bpf.obj_pin(first.prog_fd, str(directory / "prog0-prog"))
    found = discovered()
    (shown,) = on(found, veth)
    inner = [bpf.prog_info(one.prog_fd).id for one in (first, second)]

    assert shown["program_id"] == prog_id
    assert [one["program_id"] for one in shown["under"]] == inner
    assert not {one["program_id"] for one in found["elsewhere"]} & {prog_id, *inner}
    assert bpf.map_info(second.map_fd).id in [one["id"] for one in found["maps"]]
    table = xdp_otel("discover", "--all").splitlines()
    at = next(at for at, line in enumerate(table) if line.split()[:1] == [veth.name])
    assert [line.split()[:5] for line in table[at + 1 : at + 3]] == [
        ["1.", "under", "it", "xdp_count_frags", str(inner[0])],
        ["2.", "under", "it", "xdp_count_frags", str(inner[1])],
    ]


def test_pinned_maps_without_a_program_are_listed(make_map, make_pin):
    """With all their pins; entries are counted up to a bound."""
    fd = make_map(uapi.MAP_HASH, key_size=4, value_size=8, max_entries=5000, name="lonely")
    for number in range(1200):
        map_update(fd, number.to_bytes(4, "little"), bytes(8))
    pins = sorted(str(make_pin(fd)) for _ in range(2))
    found = of_pin(discovered(), pins[0])

    assert found["pins"] == pins
    assert (found["entries"], found["more_entries"]) == (1000, True)
    assert found["programs"] == []
    assert found["no_layout"] == "the map has no BTF"
    assert "Map lonely  id" in (text := xdp_otel("discover", "lonely"))
    assert ">1,000 of 5,000 keys" in text


def test_an_unreadable_map_is_marked(make_map, make_pin):
    """A ring buffer has no counters: it is listed without a flag to read it."""
    fd = make_map(RINGBUF, key_size=0, value_size=0, max_entries=4096)
    path = make_pin(fd)
    found = of_pin(discovered(), path)

    assert (found["readable"], found["flag"]) == (False, None)
    assert found["refused"] == "RINGBUF maps are not supported"


def test_constants_of_a_program_are_not_counters(flows, cleanup, make_pin):
    """The program cannot write to the map that libbpf makes of `const` variables."""
    program = cleanup.enter_context(libbpf.load_packet_counter())
    ids = bpf.prog_info(program.prog_fd).map_ids
    found = {one["name"]: one for one in discovered()["maps"] if one["id"] in ids}

    assert found["stats_map"]["readable"]
    assert found["xdp_otel.rodata"]["refused"] == "constants of the program"


def test_every_bpffs_is_walked_and_no_map_listed_twice(make_map, tmp_path, cleanup, bpffs):
    """A second bpffs, in a directory of its own and in one below; the first one mounted a second time."""
    own, again = tmp_path / "a place", tmp_path / "again"
    for directory, command in ((own, ["-t", "bpf", "bpf"]), (again, ["--bind", bpffs])):
        directory.mkdir()
        subprocess.run(["mount", *command, directory], check=True)
        cleanup.callback(subprocess.run, ["umount", directory], check=True)
    fd = make_map(uapi.MAP_ARRAY)
    (own / "within").mkdir()
    pins = [own / "within/map", bpffs / f"test-{uuid.uuid4().hex[:12]}"]
    for path in pins:
        bpf.obj_pin(fd, str(path))
    cleanup.callback(pins[1].unlink)

    assert set(of_pin(discovered(), pins[0])["pins"]) == {str(path) for path in pins}


def test_the_depth_of_directories_is_bounded(make_map, bpffs, cleanup):
    """Deeper directories are skipped, with a note."""
    deep = bpffs / f"test-{uuid.uuid4().hex[:12]}" / "/".join("abcdefghij")
    deep.mkdir(parents=True)
    cleanup.callback(subprocess.run, ["rm", "-r", bpffs / deep.relative_to(bpffs).parts[0]], check=True)
    bpf.obj_pin(make_map(uapi.MAP_ARRAY), str(deep / "map"))
    found = discovered()

    assert str(deep / "map") not in [pin for one in found["maps"] for pin in one["pins"]]
    assert any(note.startswith("cannot list all of bpffs: ") for note in found["notes"])


def test_without_cap_sys_admin_pins_are_shown_and_one_line_says_so(flows, make_map):
    """Programs have no names and maps no fields then, but pinned maps can be read."""
    without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    found = discovered("--all", prefix=without)
    flow = of_pin(found, flows.map)

    assert [one["program_id"] for one in on(found, flows.interface)] == [
        bpftool("prog", "show", "pinned", flows.program)["id"]
    ]
    assert (flow["readable"], flow["key"], flow["no_layout"]) == (
        True,
        None,
        "reading its BTF needs CAP_SYS_ADMIN",
    )
    assert next(note for note in found["notes"] if "by id" in note) == (
        "cannot list programs and maps by id: EPERM (Operation not permitted): "
        "run with CAP_SYS_ADMIN; only pins are shown"
    )


def test_pins_that_cannot_be_opened_are_counted_in_one_line(flows):
    """A user without capabilities sees the others."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with os.fdopen(writer, "w") as stream:
            collected = inventory.collect()
            json.dump(report.as_json(collected, collected), stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        found = json.load(stream)
    os.waitpid(child, 0)

    assert [(one["mode"], one["program"]) for one in on(found, flows.interface)] == [("native", None)]
    assert (
        len([note for note in found["notes"] if "EACCES (Permission denied): run as its owner" in note]) == 1
    )
    assert str(flows.map) not in json.dumps(found["maps"])


@pytest.mark.parametrize("more", [[], ["--with-layout"]], ids=["by BTF", "with its layout"])
def test_a_written_configuration_reads_the_map(flows, tmp_path, more):
    """discover → check → dump: the numbers are bpftool's, and addresses are decoded."""
    flows.send("192.0.2.7", TCP, 3)
    flows.send("192.0.2.8", UDP, 4, b"payload")
    config = tmp_path / "flows.yaml"
    config.write_text(xdp_otel("discover", "--write-config", flows.map, *more))
    # With the layout said, nothing of BTF is needed.
    prefix = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin") if more else ()
    checked = xdp_otel(
        "check", "--config", config, "--no-endpoint", "--state-dir", tmp_path / "state", prefix=prefix
    )
    rows = json.loads(xdp_otel("dump", "--config", config, "--json", prefix=prefix))

    assert checked.splitlines()[-1] == "OK"
    assert {(row["attributes"]["saddr"], row["attributes"]["proto"]): row["fields"] for row in rows} == {
        (address, {TCP: "tcp", UDP: "udp"}[protocol]): fields
        for (address, protocol), fields in flows.counted().items()
    }


@pytest.mark.parametrize("more", [[], ["--with-layout"]], ids=["by BTF", "with its layout"])
def test_a_configuration_can_be_written_for_every_odd_map(odd, tmp_path, more):
    """Packed, padded, bit-fields, nested, unions, signed: `check` accepts each file as it was written."""
    assert "constants of the program" in xdp_otel(
        "discover", "--write-config", odd.pop("odd.rodata")[1], code=3
    )
    for name, (fd, path) in odd.items():
        info = bpf.map_info(fd)
        config = tmp_path / f"{name}.yaml"
        config.write_text(xdp_otel("discover", "--write-config", path, *more))
        checked = xdp_otel("check", "--config", config, "--no-endpoint", "--state-dir", tmp_path / "state")

        assert checked.splitlines()[-1] == "OK", name
        assert f"id {info.id}," in checked.splitlines()[0]


@pytest.mark.parametrize("more", [[], ["--with-layout"]], ids=["by BTF", "with its layout"])
def test_a_configuration_can_be_written_for_a_map_that_needs_one(tmp_path, cleanup, make_pin, more):
    """Where names collide in Prometheus, or nothing looks like a counter, the file has what is missing."""
    path = compile_object(MAPS / "unnamed.bpf.c", tmp_path / "unnamed.o")
    maps = {name: make_pin(fd) for name, fd in cleanup.enter_context(Loaded(path)).maps.items()}
    written = {}
    for name in ("folded_map", "countless_map"):
        config = tmp_path / f"{name}.yaml"
        config.write_text(xdp_otel("discover", "--write-config", maps[name], *more))
        checked = xdp_otel("check", "--config", config, "--no-endpoint", "--state-dir", tmp_path / "state")
        written[name] = config.read_text()

        assert checked.splitlines()[-1] == "OK", name
    assert "{field: src.port, attribute: src.port, " in written["folded_map"]
    assert "{field: src_port, attribute: src_port_2, " in written["folded_map"]
    assert "- name: folded_map.rx_packets_2\n        field: rx_packets " in written["folded_map"]
    assert written["countless_map"].count("kind: gauge\n") == 2
    assert "kind: counter\n" not in written["countless_map"]

    refused = xdp_otel("discover", "--write-config", maps["nothing_map"], code=3)
    assert "no field of its value is a number that can be exported: name char[16]: `xdp-otel disc" in refused
    assert "metrics:" not in refused


def test_a_pin_with_a_dot_is_impossible(bpffs):
    """The kernel answers EPERM, although no capability is missing."""
    for path in (bpffs / "my.map", bpffs / "my.maps/flows"):
        assert f"open map pinned at {path}: bpffs allows no dot in a name" in xdp_otel(
            "dump", "--map-path", path, code=3
        )
        assert f"configuration for map {path}: bpffs allows no dot in a name" in xdp_otel(
            "discover", "--write-config", path, code=3
        )


def test_a_configuration_for_a_map_without_btf_begins_with_a_guess(make_map, make_pin, tmp_path):
    """The fields are numbered for the user to name; the file works as it is."""
    fd = make_map(uapi.MAP_HASH, key_size=6, value_size=24, max_entries=8, name="bare")
    path = make_pin(fd)
    map_update(fd, bytes(range(6)), b"".join(n.to_bytes(8, "little") for n in (7, 8, 9)))
    config = tmp_path / "bare.yaml"
    config.write_text(xdp_otel("discover", "--write-config", path))
    (row,) = json.loads(xdp_otel("dump", "--config", config, "--json"))

    assert "the map has no BTF, so these fields are a guess" in config.read_text()
    assert row["attributes"] == {"key": "000102030405"}
    assert row["fields"] == {"field_0": 7, "field_1": 8, "field_2": 9}


def test_a_map_is_named_by_pin_name_or_id(odd):
    """All three write the same file; a name is truncated as in the kernel."""
    fd, path = odd["numbers_map"]
    name = f"xt{uuid.uuid4().hex}"
    long = map_create(uapi.MAP_ARRAY, key_size=4, value_size=8, max_entries=1, name=name)
    info = bpf.map_info(fd)

    assert xdp_otel("discover", "--write-config", path) == xdp_otel("discover", "--write-config", info.id)
    assert f"name: {name[:15]}   # not pinned" in xdp_otel("discover", "--write-config", name)
    os.close(long)


def test_missing_and_ambiguous_maps_are_refused(make_map):
    """In one line, with the ids to choose from."""
    name = f"xt{uuid.uuid4().hex[:10]}"
    ids = [bpf.map_info(make_map(uapi.MAP_ARRAY, name=name)).id for _ in range(2)]
    several = xdp_otel("discover", "--write-config", name, code=3)

    assert (
        f"2 maps have that name: id {ids[0]} (ARRAY), id {ids[1]} (ARRAY): use its pin or its id" in several
    )
    for missing in ("nosuchmap", "/sys/fs/bpf/nosuchpin", "4294967295"):
        assert f"write a configuration for map {missing}: no such map" in xdp_otel(
            "discover", "--write-config", missing, code=3
        )
