# SPDX-License-Identifier: Apache-2.0
"""The JSON schema for editors and the code that reads the file accept the same configurations."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.describe.decoders import DECODERS
from sidecar.describe.file.sources import BUILT_IN, built_in_names, load, profile
from sidecar.errors import ConfigError
from sidecar.kernel.interface import is_interface_name_or_pattern

ROOT = Path(__file__).parents[4]
CHART_RULES = "helm/templates/_refuse.tpl"
SCHEMA = json.loads((ROOT / "sidecar/config.schema.json").read_text())
CHECK = jsonschema.Draft7Validator(SCHEMA)

GOOD = [
    "sources: [{id: 1}]",
    "sources: [{pin: /a, series_limit: 5, cpu: cpu, key: []}, {name: b}]",
    "sources: [{id: 1, rows: all}, {id: 2, rows: used}]",
    "sources: [{interface: eth0, netns: blue, profile: packet-counter}]",
    "sources: [{pin: /a, outer: {layout: {vip: be32, port: be16}, key: [{field: vip, decoder: ipv4}]}}]",
    "sources: [{id: 1, outer: {layout: u32}}, {id: 2, outer: {}}]",
    "sources: [{pin: /b/*/c, attributes: {a: 'x-{1}', b: '{0}', c: 1}}, {name: 'a_?'}]",
    "sources: [{interface: eth0, map: flows}, {interface: eth0, netns: blue, name: flows}]",
    "sources: [{interface: 'enp*s0f[0-9]np*', exclude: [veth*, docker0]}, {interface: auto, exclude: []}]",
    "sources: [{id: 1, attributes: {a: b, c: 1, d: true, e: -9223372036854775808}}]",
    'sources: [{id: 1, layout: {value: "u64[4]", key: "be16 @ 2", packed: true}}]',
    "sources: [{id: 1, layout: {value: {a: {b: u8, c: char}}}}]",
    'sources: [{id: 1, layout: {value: {"a[2][3]": {b: "u8[4][5]"}}}}]',
    "sources: [{id: 1, metrics: [{name: a, field: q.*}, {name: b, field: q.*, index: queue}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: q.*.x.*, index: [r, {attribute: c, decoder: protocol}]}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: q.*, index: {attribute: c, decoder: table, table: {0: r}}}]}]",  # noqa: E501
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: gauge, aggregate: max}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: gauge, aggregate: last, by: seen}]}]",
    "sources: [{id: 1, labels: [{field: comm, decoder: string}]}]",
    "sources: [{id: 1, key: [{field: a, attribute: b, decoder: ipv6}]}]",
    "sources: [{id: 1, key: [{field: a, regexp: {match: '^(.)x', replace: ''}}]}]",
    "sources: [{id: 1, key: [{field: a, decoder: table, table: {6: tcp, 0x11: udp, -1: none}}]}]",
    'sources: [{id: 1, metrics: [{name: a/b-c.d_e, field: f, unit: "{x}/s", description: D., kind: rate}]}]',
    "sources: [{id: 1, metrics: [{name: a, field: f, attributes: {g: h}}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: histogram, buckets: log2, sum: b, scale: 1e-9}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: histogram, buckets: exp2, as: exponential}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: histogram, bucket: b, slots: 3, sum: 3, "
    "buckets: {linear: {start: -5, width: 10}}}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: histogram, buckets: [0.5, 1, 1000]}]}]",
    "sources: [{id: 1, where: {proto: tcp}, metrics: [{name: a, field: f, at: 0, scale: 1000},"
    "{name: b, field: f, at: DROP}, {name: c, field: f, kind: gauge, where: {a: [1, b], c: true}}]}]",
]
BAD = [
    "{}",
    "[]",
    "source: []",
    "sources: []",
    "sources: [1]",
    "sources: [{}]",
    "sources: [{id: 1}], more: 1",
    "sources: [{id: 1, pin: /a}]",
    "sources: [{id: 0}]",
    "sources: [{interface: eth0, exclude: [eth1]}]",
    "sources: [{pin: /a, exclude: [eth1]}]",
    "sources: [{interface: eth*, exclude: eth1}]",
    "sources: [{interface: eth*, exclude: [a/b]}]",
    'sources: [{id: "1"}]',
    "sources: [{pin: a}]",
    "sources: [{interface: a b}]",
    "sources: [{interface: a234567890123456}]",
    "sources: [{id: 1, netns: blue}]",
    "sources: [{id: 1, map: flows}]",
    "sources: [{id: 1, outer: {layouts: u32}}]",
    "sources: [{id: 1, outer: u32}]",
    "sources: [{name: flows, map: flows}]",
    "sources: [{interface: eth0, map: flows, name: flows}]",
    "sources: [{interface: eth0, map: flows, direction: both}]",
    "sources: [{interface: eth0, name: flows, direction: both}]",
    'sources: [{interface: eth0, map: ""}]',
    "sources: [{id: 1, series_limit: 0}]",
    "sources: [{id: 1, series_limit: 1.5}]",
    "sources: [{id: 1, cpu: true}]",
    "sources: [{id: 1, rows: some}]",
    "sources: [{id: 1, labels: []}]",
    "sources: [{id: 1, labels: [comm]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, aggregate: max}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: counter, aggregate: sum}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: gauge, aggregate: mean}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: gauge, aggregate: last}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: gauge, aggregate: max, by: seen}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: f, kind: gauge, by: seen}]}]",
    "sources: [{id: 1, key: [{field: a, regexp: {match: '^(.)x'}}]}]",
    "sources: [{id: 1, key: [{field: a, regexp: {match: '', replace: a}}]}]",
    "sources: [{id: 1, key: [{field: a, regexp: x}]}]",
    'sources: [{id: 1, layout: {value: {"a[2]": u8}}}]',
    'sources: [{id: 1, layout: {value: {"a[0]": {b: u8}}}}]',
    'sources: [{id: 1, layout: {value: {a: "u8[2][3][4][5][6]"}}}]',
    "sources: [{id: 1, metrics: [{name: a, field: q.*, index: []}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: q.*, index: {decoder: protocol}}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: q.*, index: {attribute: c, table: {0: rx}}}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: q.*, index: 5}]}]",
    'sources: [{id: 1, cpu: ""}]',
    "sources: [{id: 1, cpu: null}]",
    "sources: [{id: 1, match: {}}]",
    "sources: [{id: 1, attributes: {a: 1.5}}]",
    "sources: [{id: 1, attributes: {a: 9223372036854775808}}]",
    "sources: [{id: 1, attributes: [a]}]",
    "sources: [{id: 1, layout: {key: u32}}]",
    "sources: [{id: 1, layout: {value: {}}}]",
    "sources: [{id: 1, layout: {value: u63}}]",
    'sources: [{id: 1, layout: {value: "u32[0]"}}]',
    "sources: [{id: 1, layout: {value: {a b: u8}}}]",
    "sources: [{id: 1, layout: {value: u8, packed: 1}}]",
    "sources: [{id: 1, key: {}}]",
    "sources: [{id: 1, key: [{attribute: a}]}]",
    "sources: [{id: 1, key: [{field: a, decoder: ipv5}]}]",
    "sources: [{id: 1, key: [{field: a, decoder: table}]}]",
    "sources: [{id: 1, key: [{field: a, table: {1: a}}]}]",
    "sources: [{id: 1, key: [{field: a, decoder: table, table: {x: a}}]}]",
    "sources: [{id: 1, key: [{field: a, decoder: table, table: {1: 1}}]}]",
    "sources: [{id: 1, metrics: []}]",
    "sources: [{id: 1, metrics: [{name: a}]}]",
    "sources: [{id: 1, metrics: [{name: 1a, field: b}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: b, kind: sum}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: b, unit: µs}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: b, fields: c}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: b, kind: histogram}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: b, buckets: log2}]}]",
    "sources: [{id: 1, metrics: [{name: a, field: b, kind: gauge, as: explicit}]}]",
    *(
        f"sources: [{{id: 1, metrics: [{{name: a, field: b, kind: histogram, buckets: {buckets}}}]}}]"
        for buckets in ("log3", "linear", "{linear: {start: 1}}", "{linear: {width: 0}}", "[]", "[a]", "{}")
    ),
    *(
        f"sources: [{{id: 1, metrics: [{{name: a, field: b, kind: histogram, buckets: log2, {more}}}]}}]"
        for more in ("slots: 1", "sum: -1", "bucket: 1", "as: native")
    ),
    *(
        f"sources: [{{id: 1, metrics: [{{name: a, field: b, {more}}}]}}]"
        for more in ("scale: 0", "scale: -1", "scale: a", "scale: [1]", "at: -1", "at: []", "where: {}")
    ),
    "sources: [{id: 1, where: {a: []}}]",
    "sources: [{id: 1, where: {a: {b: c}}}]",
]


def as_json(value):
    """A YAML value as JSON, whose keys are text."""
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list) else value


def accepted(tmp_path, text):
    """Whether the code accepts a configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    try:
        load(path)
    except ConfigError:
        return False
    return True


def valid(text, of="configuration"):
    """Whether the schema accepts it."""
    part = {"$ref": f"#/definitions/{of}", "definitions": SCHEMA["definitions"]}
    return jsonschema.Draft7Validator(part).is_valid(as_json(yaml.safe_load(text)))


def test_the_schema_is_valid():
    """Draft 7, which editors support."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", GOOD)
def test_a_valid_configuration_is_accepted_by_both(tmp_path, text):
    """By the code and by the schema."""
    assert (accepted(tmp_path, text), valid(text)) == (True, True)


@pytest.mark.parametrize("text", BAD)
def test_an_invalid_configuration_is_refused_by_both(tmp_path, text):
    """By the code and by the schema."""
    text = text if not text.endswith("more: 1") else "sources: [{id: 1}]\nmore: 1"

    assert (accepted(tmp_path, text), valid(text)) == (False, False)


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_profiles_are_valid_too(path):
    """The schema distinguishes a profile from a configuration."""
    assert valid(path.read_text(), "profile")
    CHECK.validate(as_json(yaml.safe_load(path.read_text())))
    assert not CHECK.is_valid({"metric": []})
    profile(path.stem)


@pytest.mark.parametrize(
    "name",
    [
        *("eth0", "a:b", "ü", "a" * 15, "", "a" * 16, "a b", "a/b", "a\tb"),
        *("auto", "eth*", "enp[0-9]s0f[0-9]np?", "a" * 16 + "*", "a b*", "a/*"),
    ],
)
def test_interface_names_have_one_rule(name):
    """The kernel's: the code, the schema and the chart accept the same names."""
    quoted = re.search(r'"sidecar\.interfaces" \.interface (".*?") ', (ROOT / CHART_RULES).read_text())
    chart = json.loads(quoted[1])
    schema = SCHEMA["definitions"]["source"]["properties"]["interface"]["pattern"]

    assert bool(re.search(schema, name)) == bool(re.search(chart, name)) == is_interface_name_or_pattern(name)


def test_every_key_has_a_description():
    """Editors show it while the user types."""
    missing = []

    def visit(node, path):
        for name, child in node.get("properties", {}).items():
            known = SCHEMA["definitions"].get(child.get("$ref", "").rpartition("/")[2], {})
            if "description" not in child | known and name not in ("key", "value"):
                missing.append(f"{path}/{name}")
        for name, child in node.items():
            if isinstance(child, dict) and name not in ("properties", "if", "then", "else"):
                visit(child, f"{path}/{name}")
        for name, child in node.get("properties", {}).items():
            visit(child, f"{path}/{name}")

    visit(SCHEMA, "")
    assert missing == []


VALUES = st.sampled_from(
    [1, 0, -1, True, "a", "", "u64", "u8[4]", "ipv4", "table", "gauge", "/a", [], {}, {"a": "b"}, {"1": "a"}]
)
PARTS = st.fixed_dictionaries(
    {"field": VALUES}, optional={"attribute": VALUES, "decoder": VALUES, "table": VALUES, "x": VALUES}
)
METRICS = st.fixed_dictionaries(
    {"name": VALUES, "field": VALUES}, optional={"unit": VALUES, "kind": VALUES, "attributes": VALUES}
)
SOURCES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("id", "pin", "netns", "cpu", "attributes", "series_limit", "layout"), VALUES),
        "key": st.one_of(VALUES, st.lists(PARTS, max_size=1)),
        "metrics": st.one_of(VALUES, st.lists(METRICS, max_size=1)),
    },
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SOURCES)
def test_both_agree_on_any_source(tmp_path, source):
    """Except for what a schema cannot express: attributes that clash."""
    text = yaml.safe_dump({"sources": [source]}, default_flow_style=True)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    message = ""
    try:
        load(path)
    except ConfigError as error:
        message = str(error)

    assert "also defined at" in message or (message == "") == valid(text), message


DOCUMENT = (ROOT / "docs/configuration.md").read_text()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL))
def test_the_examples_of_the_documentation_are_valid(tmp_path, text):
    """By the code and by the schema."""
    assert (accepted(tmp_path, text), valid(text)) == (True, True)


def test_the_documentation_names_everything():
    """Each key, kind, decoder, type and profile."""
    definitions = SCHEMA["definitions"]
    items = [definitions[name]["items"]["properties"] for name in ("key", "metrics")]
    names = {*definitions["source"]["properties"], *definitions["match"]["properties"], *DECODERS}
    names |= {*items[0], *items[1], *items[1]["kind"]["enum"], *built_in_names(), "packed"}

    assert [name for name in sorted(names) if f"`{name}" not in DOCUMENT] == []
