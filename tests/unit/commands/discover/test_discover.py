# SPDX-License-Identifier: Apache-2.0
"""The output of `discover`, without a kernel: tables, configurations, layouts, netlink."""

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.commands.discover import next_steps, pins, report, scope, write_config, write_layout
from sidecar.commands.discover.model import Attachment, FoundMap, Inventory, Program
from sidecar.describe.file import sources
from sidecar.describe.layout import TYPES, shape_from
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.errors import SourceError
from sidecar.kernel import netlink
from sidecar.kernel.syscall import MapInfo
from tests.examples import examples

HASH, PERCPU_ARRAY = 1, 6
U64 = Part("packets", 0, 64, Encoding.UNSIGNED, "__u64")


def found(key, *, value=(U64,), pins=(Path("/sys/fs/bpf/flows"),), kind=HASH, entries=100, **more):
    sizes = [max((part.bit_offset + part.bits + 7) // 8 for part in parts) for parts in (key, value)]
    info = MapInfo(30, kind, "flows", *sizes, entries, 1, 1, 2)
    return FoundMap(info, 3, shape=Shape(key, value, *sizes), pins=pins, **more)


def configuration(found_map, **options):
    return write_config.for_map(Inventory((), (), (found_map,)), "30", **options)


@pytest.mark.parametrize(
    ("part", "decoder"),
    [
        (Part("saddr", 0, 32, Encoding.UNSIGNED, "__be32", big_endian=True), "ipv4"),
        (Part("key.dst_ip", 0, 32, Encoding.UNSIGNED, "__be32", big_endian=True), "ipv4"),
        (Part("saddr", 0, 32, Encoding.UNSIGNED, "__u32"), "integer"),
        (Part("src", 0, 128, Encoding.BYTES, "__u8[16]"), "ipv6"),
        (Part("key", 0, 128, Encoding.BYTES, "struct in6_addr"), "ipv6"),
        (Part("h_source_mac", 0, 48, Encoding.BYTES, "__u8[6]"), "mac"),
        (Part("addr", 0, 48, Encoding.BYTES, "__u8[6]"), "mac"),
        (Part("dport", 0, 16, Encoding.UNSIGNED, "__be16", big_endian=True), "port"),
        (Part("dport", 0, 16, Encoding.UNSIGNED, "__u16"), "integer"),
        (Part("proto", 0, 8, Encoding.UNSIGNED, "__u8"), "protocol"),
        (Part("ifindex", 0, 32, Encoding.UNSIGNED, "__u32"), "ifname"),
        (Part("action", 0, 32, Encoding.UNSIGNED, "__u32"), "xdp_action"),
        (Part("what", 0, 32, Encoding.ENUM, "enum what", names={0: "no", 1: "yes"}), "enum"),
        (Part("comm", 0, 128, Encoding.STRING, "char[16]"), "text"),
        (Part("h_source", 0, 48, Encoding.STRING, "char[6]"), "mac"),
        (Part("queue", 0, 32, Encoding.UNSIGNED, "__u32"), "integer"),
        (Part("any", 0, 24, Encoding.BYTES, "__u8[3]"), "hex"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.name} {value.type}",
)
def test_a_decoder_is_guessed_by_name_and_type(part, decoder):
    """Only a decoder that fits the size, and one for network byte order only where BTF declares it."""
    assert f"decoder: {decoder}}}" in configuration(found((part,)))


def test_a_written_configuration_can_be_parsed(tmp_path):
    """Names that YAML could misread are quoted."""
    key = (
        Part("on", 0, 32, Encoding.UNSIGNED, "__u32"),
        Part("kind", 32, 32, Encoding.ENUM, "enum kind", names={0: "no", 1: "a: b"}),
    )
    hostile = found(key, pins=(Path('/sys/fs/bpf/a "pin": #1'),))
    (tmp_path / "flows.yaml").write_text(configuration(hostile, with_layout=True))
    (spec,) = sources.load(tmp_path / "flows.yaml")

    assert spec.map_ref.value == '/sys/fs/bpf/a "pin": #1'
    assert [(part.field, part.decoder, part.table) for part in spec.key] == [
        ("on", "integer", ()),
        ("kind", "table", ((0, "no"), (1, "a: b"))),
    ]
    assert [metric.field for metric in spec.metrics] == ["packets"]


def test_only_counts_become_counters(tmp_path):
    """The same choice as without a configuration, with its reason; omitted fields are named."""
    names = ("packets", "last_seen", "iat_mean", "rx.drops", "rx_drops")
    value = tuple(Part(name, 64 * at, 64, Encoding.UNSIGNED, "__u64") for at, name in enumerate(names))
    key = (Part("a.b", 0, 32, Encoding.UNSIGNED, "__u32"), Part("a_b", 32, 32, Encoding.UNSIGNED, "__u32"))
    text = configuration(found(key, value=value))
    (tmp_path / "flows.yaml").write_text(text)
    (spec,) = sources.load(tmp_path / "flows.yaml")

    assert [(one.field, one.kind.word) for one in spec.metrics] == [
        ("packets", "counter"),
        ("iat_mean", "gauge"),
        ("rx.drops", "counter"),
        ("rx_drops", "counter"),
    ]
    assert [part.attribute for part in spec.key] == ["a.b", "a_b_2"]
    assert "# Left out: last_seen (__u64): by its name a time, or the state at a past time" in text
    assert "field: iat_mean   # __u64; by its name a value that cannot be summed" in text


def test_a_map_without_a_plain_integer_gets_gauges_of_its_numbers(tmp_path):
    """Without a configuration, `run` refuses such a map."""
    value = (Part("open", 0, 8, Encoding.BOOL, "_Bool"), Part("name", 8, 64, Encoding.STRING, "char[8]"))
    (tmp_path / "flows.yaml").write_text(configuration(found((U64,), value=value)))
    (spec,) = sources.load(tmp_path / "flows.yaml")

    assert [(one.field, one.kind.word) for one in spec.metrics] == [("open", "gauge")]


def test_a_map_that_fits_a_profile_gets_the_profile():
    """Its metrics are not listed."""
    key = (Part("key", 0, 32, Encoding.UNSIGNED, "__u32"),)
    (profile,) = [profile for profile in sources.built_in() if profile.name == "packet-counter"]
    value = tuple(
        Part(member.name, 64 * at, 64, Encoding.UNSIGNED, "__u64")
        for at, member in enumerate(profile.layout.value)
    )
    text = configuration(found(key, value=value, kind=PERCPU_ARRAY, entries=1))

    assert "profile: packet-counter" in text
    assert "metrics:\n" not in text


@st.composite
def members(draw, depth=2):
    """A struct that a layout can express: names, types, arrays, nested structs."""
    found = {}
    for at in range(draw(st.integers(1, 4))):
        if depth and draw(st.integers(0, 3)) == 0:
            found[f"m{at}"] = draw(members(depth - 1))
        else:
            kind = draw(st.sampled_from(sorted(TYPES.keys() - {"char"})))
            count = draw(st.sampled_from(("", "", "[3]"))) if kind[0] == "u" and kind != "u8" else ""
            found[f"m{at}"] = kind + count
    return found


def lines_of(tree, indent):
    for name, member in tree.items():
        if isinstance(member, dict):
            yield f"{indent}{name}:"
            yield from lines_of(member, indent + "  ")
        else:
            yield f"{indent}{name}: {member}"


def size_of(section):
    for size in range(1, 4096):
        try:
            shape_from(section, Part("key", 0, 32, Encoding.UNSIGNED, "__u32"), 4, size)
        except Exception:  # noqa: BLE001, S112  # another size
            continue
        return size
    raise AssertionError("no size fits")


@given(tree=members(), packed=st.booleans())
def test_a_layout_restores_its_shape(tree, packed):
    """Any struct of integers, aligned as in C or packed: shape → layout → the same shape."""
    lines = ["layout:", *(["  packed: true"] if packed else []), "  value:", *lines_of(tree, "    ")]
    section = write_layout.read(lines)
    opaque = Part("key", 0, 32, Encoding.UNSIGNED, "__u32")
    size = size_of(section)
    shape = shape_from(section, opaque, 4, size)
    written = write_layout.lines(shape)

    assert written
    assert shape_from(write_layout.read(written), opaque, 4, size).value == shape.value


@pytest.mark.parametrize(
    "part",
    [
        Part("bits", 3, 5, Encoding.UNSIGNED, "__u32"),
        Part("q.0.packets", 0, 64, Encoding.UNSIGNED, "__u64"),
        Part("odd", 0, 24, Encoding.UNSIGNED, "__u24"),
    ],
    ids=lambda part: part.name,
)
def test_a_shape_that_no_layout_can_express_yields_none(part):
    """Bit-fields, arrays of structs, odd integers."""
    assert write_layout.lines(Shape((), (part,), 0, 8)) == []


def test_names_cannot_control_the_terminal():
    """The name of a pin may contain any character except slash and dot."""
    hostile = found((U64,), pins=(Path("/sys/fs/bpf/a"), Path("/sys/fs/bpf/\x1b[2Jb")))
    program = Program(7, "evil\x1b]0;", (30,))
    inventory = Inventory((Attachment(None, "eth0", 2, "native", program),), (), (hostile,))
    text = "\n".join(report.lines(inventory, inventory))

    assert "\x1b" not in text
    assert "\\x1b[2Jb" in text


def test_an_array_is_shown_as_a_range():
    """So is a histogram of a thousand slots; a long list of fields is cut."""
    slots = tuple(Part(f"slots.{at}", 64 * at, 64, Encoding.UNSIGNED, "__u64") for at in range(1000))
    fields = tuple(Part(f"f{at}", 64 * at, 64, Encoding.UNSIGNED, "__u64") for at in range(30))
    inventory = Inventory((), (), (found((U64,), value=(*slots, U64)), found(fields)))
    shown = "\n".join(report.lines(inventory, inventory))

    assert f"value    8000 B: slots.0 … slots.999 __u64, {U64.name} __u64\n" in shown
    assert "f23 __u64, and 6 more: --json shows all" in " ".join(shown.split())


def test_an_empty_inventory_tells_what_to_do():
    """As on a new machine."""
    empty = Inventory((), (), ())
    first, *_, last = report.lines(empty, empty)

    assert first == "No XDP or TCX program is attached."
    assert last == "Next: `xdp-otel attach --interface IF` attaches the shipped program."


def test_an_empty_list_is_no_answer_without_rights():
    """Nothing claims then that there is none."""
    limited = Inventory((), (), (), is_limited=True)

    assert list(report.lines(limited, limited)) == []
    unnamed = Attachment(None, "eth0", 2, "native", Program(7))
    limited = Inventory((unnamed,), (), (), is_limited=True)
    assert list(report.lines(limited, limited))[2].split() == ["eth0", "native", "?", "7", "?"]


@pytest.mark.parametrize("length", range(1, 60))
def test_a_long_pin_fits_into_the_lines_of_a_command(length):
    """With the space and the backslash that follow it."""
    pinned = found((U64,), pins=(Path("/sys/fs/bpf/0/0000000000000", f"{'0' * length}¡"),))
    inventory = Inventory((), (), (pinned,))

    assert all(len(line) <= report.WIDTH for line in report.lines(inventory, inventory))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/.\0"), max_size=15)
PATHS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/.\0"), min_size=1, max_size=120))


@given(st.data())
def test_no_line_exceeds_80_columns(data):
    """Names and pins of any length, programs with many maps, namespaces by path; no character is lost."""
    numbers = st.integers(0, 2**32 - 1)
    programs = st.builds(Program, numbers, NAMES, st.lists(numbers, max_size=9).map(tuple))
    nested = st.builds(Program, numbers, NAMES, st.just(()), under=st.lists(programs, max_size=3).map(tuple))
    netns = st.none() | PATHS.map("/".join)
    modes = st.sampled_from(("native", "tcx ingress"))
    attachment = st.builds(Attachment, netns, NAMES, numbers, modes, nested)
    pins = st.lists(PATHS.map(lambda names: Path("/sys/fs/bpf", *names)), max_size=3).map(tuple)
    maps = [
        FoundMap(
            MapInfo(
                number, data.draw(st.sampled_from((1, 6, 10, 27))), data.draw(NAMES), 8, 8, 2**32 - 1, 0, 0, 0
            ),
            1000,
            more=True,
            pins=data.draw(pins),
            no_shape="the map has no BTF",
        )
        for number in data.draw(st.lists(numbers, max_size=3, unique=True))
    ]
    inventory = Inventory(
        data.draw(st.lists(attachment, max_size=3).map(tuple)),
        data.draw(st.lists(programs, max_size=2).map(tuple)),
        tuple(maps),
    )

    for line in report.lines(inventory, inventory):
        assert len(line) <= report.WIDTH, line
        assert line.isprintable()


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0\r\n"), max_size=200), max_size=5))
@examples(30)
def test_a_command_can_be_pasted(words):
    """In lines of 80 columns, whatever is in its words."""
    lines = list(next_steps.for_shell(["printf", "%s\\n", *words], 80, "  "))
    done = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)

    assert all(len(line) <= 80 for line in lines)
    assert done.stdout == "".join(f"{word}\n" for word in words or [""])


ETH0, ETH1, VETH = (
    Attachment(None, name, at, "native", Program(10 + at, f"prog{at}", (30 + at,)))
    for at, name in enumerate(("eth0", "eth1", "veth0"))
)
MACHINE = Inventory(
    (ETH0, ETH1, VETH),
    (Program(20, "loose_program_x", (40,)),),
    tuple(
        FoundMap(MapInfo(number, HASH, name, 4, 8, 9, 0, 0, 0), pins=(Path("/sys/fs/bpf", directory, name),))
        for number, name, directory in (
            (30, "flows", "a"),
            (31, "ports", "a"),
            (32, "flows", "b"),
            (40, "a_long_name_tha", "c"),
            (41, "others", "d"),
        )
    ),
    interfaces=("lo", "eth0", "eth1", "veth0"),
    program_pins=((Path("/sys/fs/bpf/a/prog0"), 10),),
)


@pytest.mark.parametrize(
    ("patterns", "interfaces", "maps"),
    [
        ([], ["eth0", "eth1", "veth0"], [30, 31, 32]),
        (["eth*"], ["eth0", "eth1"], [30, 31]),
        (["eth1", "veth0"], ["eth1", "veth0"], [31, 32]),
        (["lo"], [], []),
    ],
)
def test_what_is_attached_is_shown_with_its_maps(patterns, interfaces, maps):
    """And nothing else; an interface may have none."""
    shown = scope.attached(MACHINE, patterns)

    assert [one.interface for one in shown.attachments] == interfaces
    assert [one.info.id for one in shown.maps] == maps
    assert shown.elsewhere == ()


@pytest.mark.parametrize("pattern", ["eth2", "br*"])
def test_an_interface_that_is_not_there_is_an_error(pattern):
    """Also if it is a pattern."""
    with pytest.raises(SourceError, match="no such interface"):
        scope.attached(MACHINE, [pattern])


@pytest.mark.parametrize(
    ("name", "programs", "maps"),
    [
        ("flows", [10, 12], [30, 32]),
        ("prog1", [11], [31]),
        ("40", [20], [40]),
        ("a_long_name_that_the_kernel_cuts", [20], [40]),
        ("loose_program_x_and_more", [20], [40]),
        ("/sys/fs/bpf/b/flows", [12], [32]),
        ("/sys/fs/bpf/a", [10, 11], [30, 31]),
        ("/sys/fs/bpf/a/prog0", [10], [30]),
        ("others", [], [41]),
        ("unpinned", [], [50]),
    ],
)
def test_a_name_chooses_maps_and_programs(name, programs, maps):
    """By pin, directory of pins, name or id; the others only if nothing is found here."""
    other = FoundMap(MapInfo(50, HASH, "unpinned", 4, 8, 9, 0, 0, 0))
    shown = scope.named(MACHINE, name, lambda: [other])

    assert [program.id for program in shown.programs()] == programs
    assert [one.info.id for one in shown.maps] == maps


def test_an_unknown_name_is_an_error_with_the_nearest_one():
    """As in the rest of the program."""
    with pytest.raises(
        SourceError, match="cannot find flovs: no such map, program or pin: did you mean 'flows'"
    ):
        scope.named(MACHINE, "flovs", list)


def test_mount_points_are_parsed_as_the_kernel_writes_them():
    """Octal escapes, optional fields, other file systems."""
    mountinfo = (
        "17 22 0:30 / /sys/fs/bpf rw,relatime shared:9 - bpf bpf rw,mode=700\n"
        "40 22 0:41 /sub /mnt/a\\040b\\134c rw master:1 shared:2 - bpf none rw\n"
        "41 22 0:42 / /bpf rw - tmpfs bpf rw\n"
    )

    assert pins.bpffs_mounts(mountinfo) == [Path("/sys/fs/bpf"), Path("/mnt/a b\\c")]


def attribute(kind, data):
    padded = data + bytes(-len(data) % 4)
    return struct.pack("=HH", 4 + len(data), kind) + padded


@pytest.mark.parametrize(
    ("xdp", "programs"),
    [
        ([(2, b"\1"), (4, 41), (5, 41)], (("native", 41),)),
        ([(2, b"\2"), (4, 42), (6, 42)], (("generic", 42),)),
        ([(2, b"\4"), (5, 41), (6, 42), (7, 43)], (("native", 41), ("generic", 42), ("offload", 43))),
        ([(2, b"\2"), (4, 44)], (("generic", 44),)),
        ([(2, b"\0")], ()),
    ],
    ids=["native", "generic", "several", "before 4.19", "none"],
)
def test_netlink_reports_programs_with_their_mode(xdp, programs):
    """IFLA_XDP of include/uapi/linux/if_link.h: one program, or one per mode."""
    inner = b"".join(
        attribute(kind, data if isinstance(data, bytes) else struct.pack("=I", data)) for kind, data in xdp
    )
    body = struct.pack("=BxHiII", 0, 1, 7, 0, 0) + attribute(3, b"eth0\0") + attribute(0x8000 | 43, inner)

    assert netlink._link(body) == netlink.Link(7, "eth0", programs)
