# SPDX-License-Identifier: Apache-2.0
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar.describe.file import sources
from sidecar.describe.file.sources import load, profile
from sidecar.describe.spec import KeySpec, LayoutSpec, MapRef, Member, MetricSpec
from sidecar.errors import ConfigError
from sidecar.kinds import Kind

FULL = """\
sources:
  - pin: /sys/fs/bpf/flows
    attributes: {site: fra1, rack: 7, spare: true, word: "7"}
    series_limit: 1000
    cpu: cpu
    layout:
      {packed: true, key: {ifindex: u32, from: {port: be16}}, value: {packets: u64, name: "char[16] @ 8"}}
    key:
      - {field: ifindex, attribute: network.interface.name, decoder: ifname}
      - {field: from.port, decoder: table, table: {0x50: http, "443": https}}
    metrics:
      - {name: flow.packets, field: packets, unit: "{packet}", description: Packets., attributes: {dir: in}}
      - {name: flow.fill, field: fill, kind: gauge}
  - interface: eth0
    netns: blue
  - name: stats_map
  - id: 7
"""


def loaded(tmp_path, text):
    """The sources of a configuration with this text."""
    path = tmp_path / "flows.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path)


def refusal(tmp_path, text):
    """The error, which is a single line, without the directory."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert len(caught.value.each) == 1
    assert "\n" not in str(caught.value)
    assert all((caught.value.what, caught.value.cause, caught.value.remedy))
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_every_key_of_a_source_is_read(tmp_path):
    """Each arrives in the specs."""
    flows, interface, name, number = loaded(tmp_path, FULL)

    assert flows.map_ref == MapRef("pin", "/sys/fs/bpf/flows")
    assert flows.attributes == (("site", "fra1"), ("rack", 7), ("spare", True), ("word", "7"))
    assert (flows.series_limit, flows.cpu) == (1000, "cpu")
    assert flows.layout == LayoutSpec(
        key=(Member("ifindex", "u32"), Member("from", members=(Member("port", "be16"),))),
        value=(Member("packets", "u64"), Member("name", "char", (16,), 8)),
        packed=True,
    )
    assert flows.key == (
        KeySpec("ifindex", "network.interface.name", "ifname"),
        KeySpec("from.port", "from.port", "table", ((80, "http"), (443, "https"))),
    )
    assert flows.metrics == (
        MetricSpec("flow.packets", "packets", "{packet}", "Packets.", Kind.COUNTER, (("dir", "in"),)),
        MetricSpec("flow.fill", "fill", kind=Kind.GAUGE),
    )
    assert (interface.map_ref, name.map_ref, number.map_ref) == (
        MapRef("interface", "eth0", "blue"),
        MapRef("name", "stats_map"),
        MapRef("id", "7"),
    )


def test_an_interface_in_both_directions_is_two_sources(tmp_path):
    """With the same settings, and an attribute that tells them apart unless the user set it."""
    both = "{interface: a, direction: both, attributes: {site: x}}"
    received, transmitted, plain = loaded(
        tmp_path, f"sources: [{both}, {{interface: b, direction: receive}}]"
    )

    assert (received.map_ref, received.attributes) == (
        MapRef("interface", "a"),
        (("network.io.direction", "receive"), ("site", "x")),
    )
    assert (transmitted.map_ref, transmitted.attributes) == (
        MapRef("interface", "a", direction="transmit"),
        (("network.io.direction", "transmit"), ("site", "x")),
    )
    assert (plain.map_ref, plain.attributes) == (MapRef("interface", "b"), ())
    text = "sources: [{interface: a, packet_sizes: true, metrics: [{name: m, field: total_packets}]}]"
    packets, sizes = loaded(tmp_path, text)
    assert (sizes.map_ref, sizes.metrics) == (MapRef("interface", "a", counted="sizes"), None)
    assert packets.metrics
    text = "sources: [{interface: a, direction: transmit, attributes: {network.io.direction: out}}]"
    assert loaded(tmp_path, text)[0].attributes == (("network.io.direction", "out"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{pin: /sys/fs/bpf/x, direction: both}", "direction: it goes with interface, not with pin"),
        ("{interface: a, direction: out}", "direction 'out': unknown"),
        ("{pin: /sys/fs/bpf/x, packet_sizes: true}", "packet_sizes: it goes with interface, not with pin"),
        ("{interface: a, packet_sizes: yes}", "packet_sizes: expected a boolean"),
        ("{interface: a, direction: both}, {interface: a}", "source interface:a: also at flows.yaml:1"),
        (
            "{interface: a, direction: both}, {interface: a, direction: transmit}",
            "source interface:a/transmit: also at flows.yaml:1",
        ),
    ],
)
def test_a_direction_that_makes_no_sense_is_refused(tmp_path, text, message):
    """With its line."""
    assert message in refusal(tmp_path, f"sources: [{text}]")


def test_a_source_may_leave_all_but_its_map_open(tmp_path):
    """It then has neither key nor metrics, and the default limit."""
    (source,) = loaded(tmp_path, "sources: [{id: 1}]")

    assert (source.key, source.metrics, source.layout, source.cpu, source.profile) == (None,) * 5
    assert (source.attributes, source.series_limit) == ((), 100_000)


def test_an_empty_key_differs_from_an_absent_one(tmp_path):
    """`key: []` sums all keys into one series."""
    (source,) = loaded(tmp_path, "sources: [{id: 1, key: []}]")

    assert source.key == ()


def test_specs_know_their_lines(tmp_path):
    """For errors that show only once the map is open."""
    flows, *_ = loaded(tmp_path, FULL)

    assert flows.at == f"{tmp_path}/flows.yaml:2"
    assert flows.key[1].at == f"{tmp_path}/flows.yaml:10"
    assert flows.metrics[0].at == f"{tmp_path}/flows.yaml:12"


# Text of a source after its map → the line in the error, and part of its message.
REFUSED = {
    "metrcis: []": (3, "key 'metrcis': unknown: did you mean 'metrics'"),
    "cpu: 3": (3, "cpu: expected text, got '3'"),
    "cpu: []": (3, "cpu: expected a single value, got a list"),
    "cpu:": (3, "cpu: empty"),
    'cpu: ""': (3, "cpu: empty"),
    "cpu: a\n    cpu: b": (4, "key 'cpu': also at flows.yaml:3"),
    "name: b": (2, "pin and name: write exactly one of interface, pin, name, id"),
    "netns: blue": (3, "netns: it goes with interface, not with pin"),
    "series_limit: 0": (3, "0 is not between 1 and 4294967295"),
    'series_limit: "10"': (3, "series_limit: expected an integer, got the text '10'"),
    "series_limit: true": (3, "series_limit: expected an integer, got 'true'"),
    "series_limit: 1.5": (3, "series_limit: 1.5 is not an integer"),
    "series_limit: " + "9" * 30: (3, "has 30 digits"),
    "attributes: {a: 1.5}": (3, "attribute 'a': 1.5 is not an integer"),
    "attributes: {a: [1]}": (3, "attribute 'a': expected a single value, got a list"),
    "attributes: {a: 9223372036854775808}": (3, "is not between -9223372036854775808"),
    "attributes: {a: 1, a: 2}": (3, "key 'a': also at flows.yaml:3"),
    "attributes: {otel.metric.overflow: true}": (2, "reserved for the series that aggregates the rest"),
    "attributes: [a]": (3, "attributes: expected a mapping, got a list"),
    'attributes: {"": a}': (3, "an empty name"),
    "attributes: {[a]: a}": (3, "a key that is not text"),
    "attributes: {site: a}\n    cpu: site": (2, "attribute 'site': also defined at flows.yaml:2"),
    "profile: packet-conter": (3, "did you mean 'packet-counter'"),
    "profile: ./none.yaml": (3, "cannot read none.yaml: No such file or directory"),
    "metrics: []": (3, "metrics: empty: leave the key out"),
    "metrics: [{name: a}]": (3, "metric: no field"),
    "metrics: [{field: a}]": (3, "metric: no name"),
    "metrics:\n    - {name: 1st, field: a}": (4, "metric '1st': not a valid metric name"),
    "metrics:\n    - {name: a, field: a, kind: conter}": (
        4,
        "kind 'conter': unknown: did you mean 'counter'",
    ),
    "metrics:\n    - {name: a, field: a, uint: By}": (4, "key 'uint': unknown: did you mean 'unit'"),
    "metrics:\n    - {name: a, field: a, unit: µs}": (4, "unit: not ASCII"),
    "metrics:\n    - {name: a, field: a}\n    - {name: a, field: b}": (5, "same name and attributes as at"),
    "metrics:\n    - {name: a, field: a, unit: s}\n    - {name: a, field: b, attributes: {x: y}}": (
        5,
        "another unit than at",
    ),
    "metrics:\n    - {name: a.b, field: a}\n    - {name: a_b, field: b}": (
        5,
        "metric 'a_b': in Prometheus it is the same as 'a.b'",
    ),
    "metrics: [{name: a, field: a, attributes: {x: 1}}, {name: a, field: b, attributes: {x: '1'}}]": (
        3,
        "same name and attributes as at",
    ),
    "attributes: {job: a}": (
        2,
        "attribute 'job': Prometheus sets 'job' itself, from the resource: name it 'key.job'",
    ),
    "key: [{field: __pad}]": (3, "attribute '__pad': Prometheus reserves the label '__pad'"),
    "cpu: 日": (2, "attribute '日': Prometheus reserves the label '_'"),
    "attributes: {a.b: 1}\n    cpu: a_b": (2, "attribute 'a_b': in Prometheus it is the same as 'a.b'"),
    "attributes: {otel_metric_overflow: a}": (2, "in Prometheus it is the same as 'otel.metric.overflow'"),
    "cpu: x\n    metrics:\n    - {name: a, field: a, attributes: {x: y}}": (
        5,
        "attribute 'x': also defined at",
    ),
    "key: [{attribute: a}]": (3, "part of the key: no field"),
    "key:\n    - {field: a, decoder: ipv44}": (4, "decoder 'ipv44': unknown: did you mean 'ipv4'"),
    "key:\n    - {field: a, decoder: table}": (4, "`table` and `decoder: table` require each other"),
    "key:\n    - {field: a, table: {1: a}}": (4, "`table` and `decoder: table` require each other"),
    "key:\n    - {field: a, decoder: table, table: {}}": (4, "table: empty"),
    "key:\n    - {field: a, decoder: table, table: {x: a}}": (4, "table, key 'x': not a number"),
    "key:\n    - {field: a, decoder: table, table: {1: 2}}": (4, "table, name of 1: expected text, got '2'"),
    "key:\n    - {field: a, decoder: table, table: {1: a, 0x1: b}}": (4, "1 is already in the table"),
    'key:\n    - {field: a, decoder: table, table: {1: "2"}}': (
        4,
        "the number 2 is not in the table, so it would have the same name",
    ),
    "key:\n    - {field: a, attribute: x}\n    - {field: b, attribute: x}": (
        5,
        "attribute 'x': also defined at",
    ),
    "layout: {key: u32}": (3, "layout: no value"),
    "layout: {value: {}}": (3, "a struct without members"),
    "layout: {value: u63}": (3, "type 'u63' of value: unknown: did you mean 'u64'"),
    "layout: {value: {a: u64!}}": (3, "type 'u64!' of a: not a type"),
    "layout: {value: {a.b: u64}}": (3, "member 'a.b': not a C identifier"),
    "key: [{field: a, regexp: {match: '(', replace: b}}]": (3, "missing ), unterminated subpattern"),
    "key: [{field: a, regexp: {match: a, replace: '\\1'}}]": (3, "invalid group reference 1"),
    "metrics: [{name: a, field: 'q.*.x', index: [a, b]}]": (3, "2 names for 1 `*` in field 'q.*.x'"),
    'layout: {value: {a: "u64[99999]"}}': (3, "larger than the value of any map"),
    "layout: {value: " + "{a: " * 20 + "u8" + "}" * 21: (3, "more than 16 deep"),
    "cpu: *nothing": (3, "invalid YAML: found undefined alias"),
    "cpu: !!binary aaaa": (3, "tag tag:yaml.org,2002:binary: tags are not supported"),
    "cpu: &a b\n    profile: *a": (3, "aliases (*name) are not supported"),
    "cpu: a: c": (3, "invalid YAML: mapping values are not allowed here"),
    "attributes: {a: 010}": (3, "010 is not an integer"),
    "cpu: a\x07": (3, "a character that YAML does not allow"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_wrong_entry_is_refused_at_its_line(tmp_path, text):
    """Every error begins with the line, then has the entry, the cause and the remedy."""
    line, expected = REFUSED[text]
    message = refusal(tmp_path, f"sources:\n  - pin: /sys/fs/bpf/flows\n    {text}\n")

    assert message.startswith(f"flows.yaml:{line}: ")
    assert expected in message


# What means something else in YAML than its author meant → the remedy.
PITFALLS = {
    "cpu: {packet}": "cpu: expected a single value, got a mapping: quote it: cpu: '{packet}'",
    "cpu: [By]": "quote it: cpu: '[By]'",
    "cpu: {a: b}": "write it after the colon",
    "attributes: {a: {packet}}": "attribute 'a': expected a single value, got a mapping: quote it: '",
    "cpu: {packet}/s": "quote the whole text, since a bracket or a quote begins it",
    "cpu: *By": "quote the text: without quotes, * begins an alias",
    "cpu: %": "quote the text: it cannot begin with that character",
    "cpu: '@": "close the quotes",
    "cpu: @1": "quote the text: it cannot begin with that character",
    "cpu: `a`": "quote the text: it cannot begin with that character",
    "cpu: a: b": "quote the text if a colon belongs to it",
    "cpu: !x": "leave it out, or quote the text if `!` belongs to it",
    "cpu: #1": "quote the text if # belongs to it",
    "cpu: ~": "write something, or leave the key out",
    "cpu: 1e3": "1e3 is not an integer: write 1000, or",
    "\tcpu: a": "indent with spaces: YAML allows no tabs there",
    "layout: {value: {a: u64[4]}}": "quote text that contains one or a comma, as in 'u64[4]'",
    "layout: {packed: yes, value: u8}": "packed: expected a boolean, got 'yes': write true",
    "layout: {packed: off, value: u8}": "packed: expected a boolean, got 'off': write false",
    "series_limit: 1e3": "1e3 is not an integer: write 1000",
    "series_limit: 010": "010 is not an integer: write 10 if it is decimal",
    "series_limit: 0o10": "got '0o10': write 8, without quotes",
    "series_limit: 1_000": "got '1_000': write 1000, without quotes",
    'series_limit: "0x10"': "got the text '0x10': write 16, without quotes",
    "series_limit: 2024-01-02": "got '2024-01-02': write digits",
    "series_limit: .inf": ".inf is not an integer: round it",
}


@pytest.mark.parametrize("text", PITFALLS)
def test_a_pitfall_of_yaml_has_its_remedy(tmp_path, text):
    """The parser's own message would not tell how to write it."""
    assert PITFALLS[text] in refusal(tmp_path, f"sources:\n  - pin: /sys/fs/bpf/flows\n    {text}\n")


MANY_ERRORS = """\
sources:
  - pin: flows
    metrcis: []
    series_limit: many
    attributes: {a: 1.5, b: [c], "": d}
    layout: {packed: yes, value: {a: u63, b: {c: u65}}}
    key:
      - {field: a, decoder: ipv44, attribute: 7}
      - {atribute: a}
      - {field: a, decoder: table, table: {x: a, y: b}}
    metrics:
      - {nme: a, unit: {packet}, kind: conter}
      - {name: 1st, field: a, attributes: {x: ~}}
  - interface: eth0
    profile: nosuch
  - pins: /sys/fs/bpf/flows
    profile: nosuch
  - netns: blue
"""


def test_all_errors_of_a_file_are_shown_at_once(tmp_path):
    """Each once, by line, and none that only follows from another."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, MANY_ERRORS)

    assert caught.value.exit_code == ConfigError.exit_code
    lines = [str(error).replace(f"{tmp_path}/flows.yaml:", "") for error in caught.value.each]
    assert [": ".join(line.split(": ")[:3]) for line in lines] == [
        "2: pin 'flows': not an absolute path",
        "3: source, key 'metrcis': unknown",
        "4: series_limit: expected an integer, got 'many'",
        "5: attribute 'a': 1.5 is not an integer",
        "5: attribute 'b': expected a single value, got a list",
        "5: attributes: an empty name",
        "6: type 'u63' of a: unknown",
        "6: type 'u65' of c: unknown",
        "6: packed: expected a boolean, got 'yes'",
        "8: decoder 'ipv44': unknown",
        "8: attribute: expected text, got '7'",
        "9: part of the key, key 'atribute': unknown",
        "10: table, key 'x': not a number",
        "10: table, key 'y': not a number",
        "12: metric, key 'nme': unknown",
        "12: kind 'conter': unknown",
        "12: unit: expected a single value, got a mapping",
        "13: metric '1st': not a valid metric name",
        "13: attribute 'x': empty",
        "15: profile 'nosuch': no built-in profile has that name",
        "16: source, key 'pins': unknown",
        "18: source: it names no map",
    ]


def test_all_clashes_of_a_source_are_shown_at_once(tmp_path):
    """Three names for one label are two errors."""
    text = (
        "sources:\n- id: 1\n  attributes: {job: a}\n  key:\n  - {field: a, attribute: x}\n"
        "  - {field: b, attribute: x}\n  - {field: c, attribute: x}\n  metrics:\n"
        "  - {name: a, field: a}\n  - {name: a, field: b}\n  - {name: a, field: b, unit: s}\n"
    )
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)

    assert [error.at.rpartition(":")[2] for error in caught.value.each] == ["2", "6", "7", "10", "11"]


WHOLE_FILES = {
    "": "flows.yaml:1: cannot parse: empty",
    "# nothing\n": "flows.yaml:1: cannot parse: empty",
    "sources: []": "flows.yaml:1: sources: empty",
    "source: []": "flows.yaml:1: the configuration, key 'source': unknown: did you mean 'sources'",
    "[]": "flows.yaml:1: the configuration: expected a mapping, got a list",
    "{}": "flows.yaml:1: the configuration: no sources",
    "sources: {pin: /a}": "flows.yaml:1: sources: expected a list, got a mapping",
    "sources:\n- a": "flows.yaml:2: source: expected a mapping, got 'a'",
    "sources:\n- {}": "flows.yaml:2: source: it names no map",
    "sources:\n- pin: flows": "flows.yaml:2: pin 'flows': not an absolute path",
    "sources:\n- interface: a b": "flows.yaml:2: interface 'a b': no interface can have that name",
    "sources:\n- interface: a234567890123456": "flows.yaml:2: interface 'a234567890123456': no interface",
    'sources:\n- pin: "/a\\0b"': "flows.yaml:2: pin '/a\\x00b': it contains a NUL",
    "sources:\n- id: 0": "flows.yaml:2: id: 0 is not between 1 and",
    "sources:\n- pin: /a\n- pin: /a": "flows.yaml:3: source pin:/a: also at flows.yaml:2",
    "a: b\n---\nc: d": "flows.yaml:2: cannot parse: invalid YAML: but found another document",
    "a: [\n": "flows.yaml:2: cannot parse: invalid YAML:",
    "[" * 100_000: "flows.yaml:1: cannot parse: nested too deeply",
    "- " * 100_000: "flows.yaml:1: cannot parse: nested too deeply",
    b"a: b\nc: \xff": "flows.yaml:2: cannot parse: not UTF-8",
    " " * (1 << 20) + "a": "cannot read flows.yaml: larger than 1 MiB",
    'sources:\n- pin: "/\\ud800"': "flows.yaml:2: escape: half of a surrogate pair: write ",
    'sources:\n- "\\udc80": /a': "flows.yaml:2: escape: half of a surrogate pair: write ",
    'sources:\n- pin: "/\\U00110000"': "flows.yaml:2: cannot parse: an escape or a number out of range",
    'sources:\n- pin: "/\\Uffffffff"': "flows.yaml:2: cannot parse: an escape or a number out of range",
    f"%YAML {'1' * 5000}.1\n---\na": "flows.yaml:1: cannot parse: an escape or a number out of range",
    "&a [*a]": "flows.yaml:1: anchor: aliases (*name) are not supported",
}


@pytest.mark.parametrize("text", WHOLE_FILES, ids=range(len(WHOLE_FILES)))
def test_a_malformed_file_is_refused(tmp_path, text):
    """Empty, too large, not UTF-8, nested without end: a single line each, no traceback."""
    assert refusal(tmp_path, text).startswith(WHOLE_FILES[text])


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """The cause is the system's message."""
    for path, cause in (
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "a\0b", "embedded null byte"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.cause == cause


def test_booleans_of_yaml_1_1_are_text(tmp_path):
    """`no`, `on` and 1:30 are text, as in YAML 1.2."""
    (source,) = loaded(tmp_path, "sources: [{id: 1, attributes: {a: no, b: on, d: 1:30, e: -5}}]")

    assert source.attributes == (("a", "no"), ("b", "on"), ("d", "1:30"), ("e", -5))


def test_a_byte_order_mark_is_ignored(tmp_path):
    """Some editors write one."""
    assert loaded(tmp_path, b"\xef\xbb\xbfsources: [{id: 1}]")[0].map_ref == MapRef("id", "1")


def test_the_path_of_a_profile_is_relative_to_the_configuration(tmp_path):
    """Errors in the profile name its own lines."""
    (tmp_path / "mine.yaml").write_text("metrics:\n  - {name: a, field: b}\n")

    (source,) = loaded(tmp_path, "sources: [{id: 1, profile: mine.yaml}]")

    assert (source.profile.name, source.profile.metrics) == ("mine", (MetricSpec("a", "b"),))
    (tmp_path / "mine.yaml").write_text("metrics:\n  - {name: a, feld: b}\n")
    assert refusal(tmp_path, "sources: [{id: 1, profile: mine.yaml}]").startswith(
        "mine.yaml:2: metric, key 'feld'"
    )


def test_a_profile_that_many_sources_name_is_read_once(tmp_path):
    """Otherwise a file of 1 MiB could cost hours."""
    (tmp_path / "mine.yaml").write_text("metrics:\n  - {name: a, field: b}\n")

    many = loaded(tmp_path, "sources:" + "".join(f"\n- {{id: {i}, profile: mine.yaml}}" for i in (1, 2, 3)))

    assert len({id(source.profile) for source in many}) == 1


def test_a_source_takes_precedence_over_its_profile(tmp_path):
    """Metrics, key, layout and cpu are the source's if it has them, else the profile's."""
    (tmp_path / "mine.yaml").write_text("cpu: cpu\nkey: []\nmetrics: [{name: a, field: b}]\n")
    text = "sources: [{id: 1, profile: mine.yaml, key: [{field: x}], metrics: [{name: c, field: d}]}]"

    (source,) = loaded(tmp_path, text)
    merged = source.with_profile(source.profile)

    assert (merged.cpu, merged.key, merged.metrics) == (
        "cpu",
        (KeySpec("x", "x"),),
        (MetricSpec("c", "d"),),
    )


def test_a_source_cannot_repeat_an_attribute_of_its_profile(tmp_path):
    """A data point has each attribute once."""
    text = "sources:\n- id: 1\n  profile: semantic-conventions\n  attributes: {network.type: a}\n"

    with pytest.raises(ConfigError, match=r"attribute 'network\.type': also defined at"):
        loaded(tmp_path, text)


def test_an_unknown_profile_in_a_flag_is_refused():
    """The error names the profile and the nearest one."""
    with pytest.raises(ConfigError, match=r"cannot use --profile 'xdp-stat'.*did you mean 'xdp-stats'"):
        profile("xdp-stat")


def test_yaml_is_not_imported_before_a_file_is_read():
    """It costs a megabyte of RSS, which a sidecar without a file does not pay."""
    code = "import sys, sidecar.describe.file.sources; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WORDS = [*sources._SOURCE_KEYS, "field", "attribute", "decoder", "table", "unit", "kind", "types"]
SCALARS = st.one_of(
    st.sampled_from(
        ["1", "-1", "u64", "u8[4] @ 8", '"a"', "true", "~", "", "ipv4", "counter", "/a", "!x y", "*a", "&a b"]
    ),
    st.text(string.printable, max_size=8),
)
FLOW = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(st.sampled_from(WORDS), inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=60), FLOW, FLOW.map(lambda flow: f"sources: [{flow}]")))
@example("sources: [{id: 1, layout: {value: {a: {a: u8}}}}]")
@example("? [a]\n: b")
@example("%YAML 9.9\n---\na")
@example("a: \x85\n")
def test_any_text_yields_sources_or_a_single_line(tmp_path, text):
    """Whatever is in the file, it is read, or refused in a single line."""
    path = Path(tmp_path / "any.yaml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    message = ""
    try:
        specs = load(path)
    except ConfigError as error:
        message, specs = str(error), ()

    assert bool(message) != bool(specs)
    assert not message or ("any.yaml" in message and "\n" not in message)
