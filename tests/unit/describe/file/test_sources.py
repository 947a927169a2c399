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
from sidecar.describe.spec import KeySpec, LayoutSpec, Member, MetricSpec, Place
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
    """The one line that refuses it, without the directory."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert all((caught.value.what, caught.value.cause, caught.value.remedy))
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_all_that_can_be_said_is_read(tmp_path):
    """Each key of a source arrives in its specification."""
    flows, interface, name, number = loaded(tmp_path, FULL)

    assert flows.place == Place("pin", "/sys/fs/bpf/flows")
    assert flows.attributes == (("site", "fra1"), ("rack", 7), ("spare", True), ("word", "7"))
    assert (flows.series_limit, flows.cpu) == (1000, "cpu")
    assert flows.layout == LayoutSpec(
        key=(Member("ifindex", "u32"), Member("from", members=(Member("port", "be16"),))),
        value=(Member("packets", "u64"), Member("name", "char", 16, 8)),
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
    assert (interface.place, name.place, number.place) == (
        Place("interface", "eth0", "blue"),
        Place("name", "stats_map"),
        Place("id", "7"),
    )


def test_what_is_not_said_stays_open(tmp_path):
    """A source of which only the place is said has neither key nor metrics, and the default limit."""
    (found,) = loaded(tmp_path, "sources: [{id: 1}]")

    assert (found.key, found.metrics, found.layout, found.cpu, found.profile) == (None,) * 5
    assert (found.attributes, found.series_limit) == ((), 100_000)


def test_no_part_of_the_key_is_not_the_same_as_nothing_said(tmp_path):
    """`key: []` means that keys are added up."""
    (found,) = loaded(tmp_path, "sources: [{id: 1, key: []}]")

    assert found.key == ()


def test_lines_are_remembered(tmp_path):
    """Each part knows the line that says it, for what can only be refused once the map is there."""
    flows, *_ = loaded(tmp_path, FULL)

    assert flows.at == f"{tmp_path}/flows.yaml:2"
    assert flows.key[1].at == f"{tmp_path}/flows.yaml:10"
    assert flows.metrics[0].at == f"{tmp_path}/flows.yaml:12"


# Text of one source after its place → the line, and what the message says.
REFUSED = {
    "metrcis: []": (3, "key 'metrcis': unknown: did you mean 'metrics'"),
    "cpu: 3": (3, "cpu: not text but '3'"),
    "cpu: []": (3, "cpu: not a single value but a list"),
    "cpu:": (3, "cpu: empty"),
    'cpu: ""': (3, "cpu: empty"),
    "cpu: a\n    cpu: b": (4, "key 'cpu': also on line 3"),
    "name: b": (2, "pin and name: write exactly one of interface, pin, name, id"),
    "netns: blue": (3, "netns: it goes with interface, not with pin"),
    "series_limit: 0": (3, "0 is not from 1 to 4294967295"),
    'series_limit: "10"': (3, "series_limit: not an integer but the text '10'"),
    "series_limit: true": (3, "series_limit: not an integer but 'true'"),
    "series_limit: 1.5": (3, "series_limit: 1.5 is not an integer"),
    "series_limit: " + "9" * 30: (3, "has 30 digits"),
    "attributes: {a: 1.5}": (3, "attribute 'a': 1.5 is not an integer"),
    "attributes: {a: [1]}": (3, "attribute 'a': not a single value but a list"),
    "attributes: {a: 9223372036854775808}": (3, "is not from -9223372036854775808"),
    "attributes: {a: 1, a: 2}": (3, "key 'a': also on line 3"),
    "attributes: {otel.metric.overflow: true}": (2, "what is beyond the series limit has it"),
    "attributes: [a]": (3, "attributes: not a mapping but a list"),
    'attributes: {"": a}': (3, "a name is empty"),
    "attributes: {[a]: a}": (3, "a key that is no text"),
    "attributes: {site: a}\n    cpu: site": (2, "attribute 'site': it is said at"),
    "profile: packet-conter": (3, "did you mean 'packet-counter'"),
    "profile: ./none.yaml": (0, "read none.yaml: No such file or directory"),
    "metrics: []": (3, "metrics: none: leave the key out"),
    "metrics: [{name: a}]": (3, "a metric: no field"),
    "metrics: [{field: a}]": (3, "a metric: no name"),
    "metrics:\n    - {name: 1st, field: a}": (4, "metric '1st': no metric can have that name"),
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
        "attribute 'job': Prometheus has 'job' of the sidecar itself: name it 'key.job'",
    ),
    "key: [{field: __pad}]": (3, "attribute '__pad': Prometheus takes no label '__pad'"),
    "cpu: 日": (2, "attribute '日': Prometheus takes no label '_'"),
    "attributes: {a.b: 1}\n    cpu: a_b": (2, "attribute 'a_b': in Prometheus it is the same as 'a.b'"),
    "attributes: {otel_metric_overflow: a}": (2, "in Prometheus it is the same as 'otel.metric.overflow'"),
    "cpu: x\n    metrics:\n    - {name: a, field: a, attributes: {x: y}}": (
        5,
        "attribute 'x': it is said at",
    ),
    "key: [{attribute: a}]": (3, "a part of the key: no field"),
    "key:\n    - {field: a, decoder: ipv44}": (4, "decoder 'ipv44': unknown: did you mean 'ipv4'"),
    "key:\n    - {field: a, decoder: table}": (4, "a table goes with `decoder: table`"),
    "key:\n    - {field: a, table: {1: a}}": (4, "a table goes with `decoder: table`"),
    "key:\n    - {field: a, decoder: table, table: {}}": (4, "table: empty"),
    "key:\n    - {field: a, decoder: table, table: {x: a}}": (4, "table, key 'x': not a number"),
    "key:\n    - {field: a, decoder: table, table: {1: 2}}": (4, "table, name of 1: not text but '2'"),
    "key:\n    - {field: a, decoder: table, table: {1: a, 0x1: b}}": (4, "1 is there already"),
    'key:\n    - {field: a, decoder: table, table: {1: "2"}}': (4, "2 has none, so it is called so too"),
    "key:\n    - {field: a, attribute: x}\n    - {field: b, attribute: x}": (
        5,
        "attribute 'x': it is said at",
    ),
    "layout: {key: u32}": (3, "layout: no value"),
    "layout: {value: {}}": (3, "a struct without members"),
    "layout: {value: u63}": (3, "type 'u63' of value: unknown: did you mean 'u64'"),
    "layout: {value: {a: u64!}}": (3, "type 'u64!' of a: not a type"),
    "layout: {value: {a.b: u64}}": (3, "member 'a.b': no member can have that name"),
    'layout: {value: {a: "u64[99999]"}}': (3, "larger than any value of a map"),
    "layout: {value: " + "{a: " * 20 + "u8" + "}" * 21: (3, "more than 16 deep"),
    "cpu: *nothing": (3, "no YAML: found undefined alias"),
    "cpu: !!binary aaaa": (3, "tag tag:yaml.org,2002:binary"),
    "cpu: &a b\n    profile: *a": (3, "an alias (*name) stands for it"),
    "cpu: a: c": (3, "no YAML: mapping values are not allowed here"),
    "attributes: {a: 010}": (3, "010 is not an integer"),
    "cpu: a\x07": (3, "a character that YAML does not allow"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_meant_is_refused_at_its_line(tmp_path, text):
    """Every refusal begins with the line, says what is wrong there and what to write."""
    line, said = REFUSED[text]
    message = refusal(tmp_path, f"sources:\n  - pin: /sys/fs/bpf/flows\n    {text}\n")

    assert message.startswith(f"flows.yaml:{line}: " if line else "read ")
    assert said in message


WHOLE_FILES = {
    "": "flows.yaml:1: read it: empty",
    "# nothing\n": "flows.yaml:1: read it: empty",
    "sources: []": "flows.yaml:1: sources: none",
    "source: []": "flows.yaml:1: the configuration, key 'source': unknown: did you mean 'sources'",
    "[]": "flows.yaml:1: the configuration: not a mapping but a list",
    "{}": "flows.yaml:1: read it: no sources",
    "sources: {pin: /a}": "flows.yaml:1: sources: not a list but a mapping",
    "sources:\n- a": "flows.yaml:2: a source: not a mapping but 'a'",
    "sources:\n- {}": "flows.yaml:2: a source: it says no place",
    "sources:\n- pin: flows": "flows.yaml:2: pin 'flows': not an absolute path",
    "sources:\n- interface: a b": "flows.yaml:2: interface 'a b': no interface can have that name",
    "sources:\n- interface: a234567890123456": "flows.yaml:2: interface 'a234567890123456': no interface",
    'sources:\n- pin: "/a\\0b"': "flows.yaml:2: pin '/a\\x00b': it contains a NUL",
    "sources:\n- id: 0": "flows.yaml:2: id: 0 is not from 1 to",
    "sources:\n- pin: /a\n- pin: /a": "flows.yaml:3: source pin:/a: also at flows.yaml:2",
    "a: b\n---\nc: d": "flows.yaml:2: read it: no YAML: but found another document",
    "a: [\n": "flows.yaml:2: read it: no YAML:",
    "[" * 100_000: "flows.yaml:1: read it: nested too deeply",
    "- " * 100_000: "flows.yaml:1: read it: nested too deeply",
    b"a: b\nc: \xff": "flows.yaml:2: read it: not UTF-8",
    " " * (1 << 20) + "a": "read flows.yaml: larger than 1 MiB",
    'sources:\n- pin: "/\\ud800"': "flows.yaml:2: read it: half of a surrogate pair: write ",
    'sources:\n- "\\udc80": /a': "flows.yaml:2: read it: half of a surrogate pair: write ",
    'sources:\n- pin: "/\\U00110000"': "flows.yaml:2: read it: an escape or a number that is out of range",
    'sources:\n- pin: "/\\Uffffffff"': "flows.yaml:2: read it: an escape or a number that is out of range",
    f"%YAML {'1' * 5000}.1\n---\na": "flows.yaml:1: read it: an escape or a number that is out of range",
    "&a [*a]": "flows.yaml:1: read it: an alias (*name) stands for it",
}


@pytest.mark.parametrize("text", WHOLE_FILES, ids=range(len(WHOLE_FILES)))
def test_a_file_that_is_none_is_refused(tmp_path, text):
    """Empty, of another form, too large, not UTF-8, nested without end: one line each, no traceback."""
    assert refusal(tmp_path, text).startswith(WHOLE_FILES[text])


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """A path that is not there, or is a directory, is said with the system's words."""
    for path, cause in (
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "a\0b", "embedded null byte"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.cause == cause


def test_words_that_older_yaml_takes_for_booleans_are_text(tmp_path):
    """`no`, `on` and 1:30 are the texts that they look like, as in YAML 1.2."""
    (found,) = loaded(tmp_path, "sources: [{id: 1, attributes: {a: no, b: on, d: 1:30, e: -5}}]")

    assert found.attributes == (("a", "no"), ("b", "on"), ("d", "1:30"), ("e", -5))


def test_a_byte_order_mark_is_no_text(tmp_path):
    """Editors that write one are forgiven."""
    assert loaded(tmp_path, b"\xef\xbb\xbfsources: [{id: 1}]")[0].place == Place("id", "1")


def test_a_profile_file_lies_next_to_the_configuration(tmp_path):
    """Its path is relative to the configuration file, and its own mistakes name its own lines."""
    (tmp_path / "mine.yaml").write_text("metrics:\n  - {name: a, field: b}\n")

    (found,) = loaded(tmp_path, "sources: [{id: 1, profile: mine.yaml}]")

    assert (found.profile.name, found.profile.metrics) == ("mine", (MetricSpec("a", "b"),))
    (tmp_path / "mine.yaml").write_text("metrics:\n  - {name: a, feld: b}\n")
    assert refusal(tmp_path, "sources: [{id: 1, profile: mine.yaml}]").startswith(
        "mine.yaml:2: a metric, key 'feld'"
    )


def test_a_profile_that_many_sources_name_is_read_once(tmp_path):
    """Or a file of 1 MiB could ask for hours of work."""
    (tmp_path / "mine.yaml").write_text("metrics:\n  - {name: a, field: b}\n")

    found = loaded(tmp_path, "sources:" + "".join(f"\n- {{id: {i}, profile: mine.yaml}}" for i in (1, 2, 3)))

    assert len({id(source.profile) for source in found}) == 1


def test_what_a_source_says_goes_before_its_profile(tmp_path):
    """Metrics, key, layout and cpu are the source's if it says them, else the profile's."""
    (tmp_path / "mine.yaml").write_text("cpu: cpu\nkey: []\nmetrics: [{name: a, field: b}]\n")
    text = "sources: [{id: 1, profile: mine.yaml, key: [{field: x}], metrics: [{name: c, field: d}]}]"

    (found,) = loaded(tmp_path, text)
    merged = found.with_profile(found.profile)

    assert (merged.cpu, merged.key, merged.metrics) == (
        "cpu",
        (KeySpec("x", "x"),),
        (MetricSpec("c", "d"),),
    )


def test_the_attributes_of_a_profile_and_of_its_source_may_not_meet(tmp_path):
    """An attribute that a profile's metric has cannot be given to the source as well."""
    text = "sources:\n- id: 1\n  profile: semantic-conventions\n  attributes: {network.type: a}\n"

    assert "attribute 'network.type'" in refusal(tmp_path, text)


def test_a_flag_that_names_no_profile_is_refused():
    """Without a file to blame the flag is named, with the nearest profile."""
    with pytest.raises(ConfigError, match=r"cannot use --profile 'xdp-stat'.*did you mean 'xdp-stats'"):
        profile("xdp-stat")


def test_yaml_is_not_imported_before_a_file_is_read():
    """Its megabyte is paid by those who read a file."""
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
def test_any_text_gives_sources_or_one_line(tmp_path, text):
    """Whatever is in the file, it is read, or refused in one line."""
    path = Path(tmp_path / "any.yaml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    said = ""
    try:
        found = load(path)
    except ConfigError as error:
        said, found = str(error), ()

    assert bool(said) != bool(found)
    assert not said or ("any.yaml" in said and "\n" not in said)
