# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path

import pytest

from sidecar.commands.registry import parser
from sidecar.config import config_from
from sidecar.describe.spec import MapRef
from sidecar.errors import ConfigError
from sidecar.model import Temporality

INTERVAL_MS = "OTEL_METRIC_EXPORT_INTERVAL"
PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


def config(*flags, **environ):
    """The configuration of a command line and an environment."""
    return config_from(parser().parse_args(["run", "--map-id", "1", *flags]), environ)


def refusal(*flags, **environ):
    """The error, which is a single line."""
    with pytest.raises(ConfigError) as caught:
        config(*flags, **environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_configuration_files_are_read(tmp_path):
    """None is silently left out."""
    files = [tmp_path / name for name in ("a.yaml", "b.yaml")]
    for file in files:
        file.write_text(f"sources: [{{pin: /sys/fs/bpf/{file.stem}}}]")
    result = config("--config", str(files[0]), "--config", str(files[1]))

    assert [spec.map_ref.value for spec in result.sources] == ["1", "/sys/fs/bpf/a", "/sys/fs/bpf/b"]


def test_the_time_is_linear_in_the_number_of_sources():
    """Comparing each with each took minutes for 20,000."""
    sources = [word for number in range(2, 20_000) for word in ("--map-id", str(number))]
    flags = parser().parse_args(["run", "--map-id", "1", *sources])
    began = time.process_time()
    result = config_from(flags, {})

    assert len(result.sources) == 19_999
    assert time.process_time() - began < 5


def test_the_defaults_are_the_documented_ones():
    """Ten seconds, /var/lib/xdp-otel, delta to localhost:4317, no status endpoint, until stopped."""
    result = config()

    assert (result.interval_s, result.state_dir, result.temporality) == (
        10.0,
        Path("/var/lib/xdp-otel"),
        Temporality.DELTA,
    )
    assert (result.endpoint.target, result.endpoint.secure, result.status, result.once) == (
        "localhost:4317",
        False,
        None,
        False,
    )


def test_sources_come_from_flags():
    """Interfaces in their namespace, and maps by pin, name or id, any number of each."""
    flags = (
        "--interface eth0 --interface eth1 --netns blue --map-path /sys/fs/bpf/m --map-name flows --map-id 41"
    )
    result = config(*flags.split())

    assert [source.map_ref for source in result.sources] == [
        MapRef("interface", "eth0", "blue"),
        MapRef("interface", "eth1", "blue"),
        MapRef("pin", "/sys/fs/bpf/m"),
        MapRef("name", "flows"),
        MapRef("id", "1"),
        MapRef("id", "41"),
    ]
    assert config("--once").once


def test_a_map_is_named_with_the_interface_of_its_program():
    """In the namespace of `--netns`; anything else with a colon is refused."""
    assert [source.map_ref for source in config("--netns", "blue", "--map-name", "eth0:flows").sources] == [
        MapRef("attached", "eth0", "blue", map="flows"),
        MapRef("id", "1"),
    ]
    for text in (":flows", "eth0:", "a b:flows", "blue:eth0:flows"):
        with pytest.raises(ConfigError, match="neither a map's name nor IF:NAME"):
            config("--map-name", text)


def test_a_pattern_is_one_source_with_what_it_leaves_out(monkeypatch):
    """The flag takes precedence over the variable; a plain name leaves out nothing."""
    monkeypatch.setenv("XDP_OTEL_EXCLUDE_INTERFACE", "eth1, veth*,")
    plain, pattern, _ = config("--interface", "eth0", "--interface", "eth*").sources
    assert (plain.exclude, pattern.exclude) == ((), ("eth1", "veth*"))
    assert config("--interface", "auto", "--exclude-interface", "a").sources[0].exclude == ("a",)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--interface", "a", "--exclude-interface", "b"), "no --interface is a pattern"),
        (("--interface", "a*", "--exclude-interface", "b/c"), "no interface can match it"),
        (("--interface", "a b*"), "no interface can have that name"),
        (("--interface", "a*", "--interface", "a*"), "it is named twice"),
    ],
)
def test_a_wrong_pattern_is_refused(flags, why):
    """In one line."""
    assert why in refusal(*flags)


def test_an_interface_in_both_directions_is_two_sources():
    """Each says on its points which one it is; received packets alone, the default, do not."""
    (plain, _), (only, _), (received, transmitted, _) = (
        config("--interface", "eth0", "--netns", "blue", *flags).sources
        for flags in ((), ("--direction", "transmit"), ("--direction", "both"))
    )

    assert (plain.map_ref, plain.attributes) == (MapRef("interface", "eth0", "blue"), ())
    assert only == transmitted
    assert received.map_ref == plain.map_ref
    assert received.attributes == (("network.io.direction", "receive"),)
    assert transmitted.map_ref == MapRef("interface", "eth0", "blue", "transmit")
    assert transmitted.attributes == (("network.io.direction", "transmit"),)


def test_the_direction_of_a_variable_is_that_of_the_flag(monkeypatch):
    """The flag wins; a map has none."""
    monkeypatch.setenv("XDP_OTEL_DIRECTION", "transmit")
    assert [spec.map_ref.direction for spec in config("--interface", "a").sources] == ["transmit", "receive"]
    assert config("--interface", "a", "--direction", "receive").sources[0].map_ref.direction == "receive"
    monkeypatch.setenv("XDP_OTEL_DIRECTION", "out")
    assert refusal("--interface", "a") == (
        "cannot use XDP_OTEL_DIRECTION='out': unknown direction: set it to receive, transmit, both"
    )


def test_packet_sizes_are_a_source_of_their_own_in_each_direction(monkeypatch):
    """With the same attributes, but not the profile of the packets; by flag or variable."""
    flags = ("--interface", "eth0", "--direction", "both", "--profile", "semantic-conventions")
    packets, sizes, *_ = found = config(*flags, "--packet-sizes").sources

    assert [str(spec.map_ref) for spec in found[:4]] == [
        "interface:eth0",
        "interface:eth0/sizes",
        "interface:eth0/transmit",
        "interface:eth0/transmit/sizes",
    ]
    assert sizes.attributes == packets.attributes == (("network.io.direction", "receive"),)
    assert (packets.profile.name, sizes.profile) == ("semantic-conventions", None)
    # Its metrics have a direction of their own, of received packets.
    assert "network.io.direction" not in {
        name for each in packets.profile.metrics for name, _ in each.attributes
    }
    monkeypatch.setenv("XDP_OTEL_PACKET_SIZES", "true")
    assert config(*flags).sources == found
    assert refusal("--packet-sizes") == (
        "cannot use --packet-sizes: it goes with --interface: "
        "in a configuration file, write `packet_sizes: true` in the source"
    )


def test_a_direction_needs_an_interface():
    """In a configuration file it is in the source."""
    assert refusal("--direction", "both") == (
        "cannot use --direction both: it goes with --interface: "
        "in a configuration file, write `direction:` in the source"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("0.1", 0.1), ("2.5", 2.5), ("86400", 86400.0), ("1e1", 10)]
)
def test_an_interval_is_in_seconds_and_may_be_fractional(text, seconds):
    """From a tenth of a second to a day."""
    assert config("--interval", text).interval_s == seconds


@pytest.mark.parametrize("text", ["0", "-1", "0.09", "86401", "nan", "inf", "-inf", "ten", "", "10s"])
def test_an_invalid_interval_is_refused(text):
    """The error has the flag, the value, the range and the default."""
    assert refusal(f"--interval={text}") == (
        f"cannot use --interval {text!r}: not a time between 0.1 s and 86400 s: the default is 10 s"
    )


def test_the_variable_for_the_interval_is_in_milliseconds():
    """As in the specification; the flag wins, and an empty variable counts as unset."""
    assert config(**{INTERVAL_MS: "2500"}).interval_s == 2.5
    assert config("--interval", "3", **{INTERVAL_MS: "2500"}).interval_s == 3.0
    assert config(**{INTERVAL_MS: ""}).interval_s == 10.0


@pytest.mark.parametrize("text", ["10", "10s", "nan", "-5000"])
def test_an_invalid_variable_for_the_interval_is_refused(text):
    """The error names the unit, for a 10 that means ten seconds."""
    assert refusal(**{INTERVAL_MS: text}) == (
        f"cannot use {INTERVAL_MS} (milliseconds) {text!r}: "
        "not a time between 0.1 s and 86400 s: the default is 10 s"
    )


def test_the_state_directory_comes_from_flag_or_variable():
    """The flag wins, and an empty variable counts as unset."""
    assert config("--state-dir", "/a", XDP_OTEL_STATE_DIR="/b").state_dir == Path("/a")
    assert config(XDP_OTEL_STATE_DIR="/b").state_dir == Path("/b")
    assert config(XDP_OTEL_STATE_DIR="").state_dir == Path("/var/lib/xdp-otel")


def test_an_empty_state_directory_is_not_the_current_one():
    """`--state-dir "$UNSET"` must not leave a journal wherever the command was started."""
    assert "--state-dir" in refusal("--state-dir", "")


@pytest.mark.parametrize("text", ["delta", "DELTA", "lowmemory", "LowMemory", ""])
def test_delta_is_the_default_and_what_lowmemory_means_here(text):
    """The specification's values, in any case."""
    assert config(**{PREFERENCE: text}).temporality is Temporality.DELTA


def test_cumulative_and_base_points_are_options():
    """By the standard variable, by the flag, by its variable."""
    assert config(**{PREFERENCE: "cumulative"}).temporality is Temporality.CUMULATIVE
    assert config("--base-point").temporality is Temporality.DELTA_WITH_BASE
    assert config(XDP_OTEL_BASE_POINT="True").temporality is Temporality.DELTA_WITH_BASE
    assert config(XDP_OTEL_BASE_POINT="false").temporality is Temporality.DELTA
    assert config("--base-point", XDP_OTEL_BASE_POINT="false").temporality is Temporality.DELTA_WITH_BASE


def test_program_statistics_are_off_unless_asked_for():
    """By the flag or its variable: they cost every BPF program of the host."""
    assert not config().program_stats
    assert config("--program-stats").program_stats
    assert config(XDP_OTEL_PROGRAM_STATS="true").program_stats


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        (
            [],
            {PREFERENCE: "total"},
            f"cannot use {PREFERENCE}='total': unknown: set it to delta or cumulative",
        ),
        (
            [],
            {"XDP_OTEL_BASE_POINT": "1"},
            "cannot use XDP_OTEL_BASE_POINT='1': not a boolean: set it to true or false",
        ),
        (
            ["--otel-temporality-preference", "total"],
            {PREFERENCE: "delta"},
            "cannot use --otel-temporality-preference='total': unknown: set it to delta or cumulative",
        ),
        (
            ["--otel-temporality-preference", "cumulative"],
            {"XDP_OTEL_BASE_POINT": "true"},
            "cannot use XDP_OTEL_BASE_POINT=true: --otel-temporality-preference is cumulative: "
            "use it with delta",
        ),
        (
            ["--base-point"],
            {PREFERENCE: "cumulative"},
            f"cannot use --base-point: {PREFERENCE} is cumulative: use it with delta",
        ),
    ],
)
def test_an_invalid_temporality_is_refused(flags, environ, message):
    """A misspelt value does not become the default, nor do settings that exclude each other."""
    assert refusal(*flags, **environ) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:9464", ("localhost", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        (":9464", ("", 9464)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
    ],
)
def test_the_status_address_is_a_host_and_a_port(text, expected):
    """By flag or variable; an empty variable counts as unset."""
    assert config("--status-address", text).status == expected
    assert config(XDP_OTEL_STATUS_ADDRESS=text).status == expected
    assert config("--status-address", text, XDP_OTEL_STATUS_ADDRESS="other:1").status == expected
    assert config(XDP_OTEL_STATUS_ADDRESS="").status is None


@pytest.mark.parametrize(
    "text", ["localhost", "9464", "localhost:", "localhost:http", "localhost:65536", "localhost:-1"]
)
def test_an_invalid_status_address_is_refused(text):
    """The error has the value and an example."""
    assert refusal("--status-address", text).startswith(
        f"cannot use --status-address {text!r}: not HOST:PORT: write "
    )
    assert refusal(XDP_OTEL_STATUS_ADDRESS=text).startswith(f"cannot use XDP_OTEL_STATUS_ADDRESS {text!r}: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--netns", "blue"], "cannot use --netns blue: it goes with --interface: name the interface too"),
        (
            ["--interface", "eth0", "--interface", "eth1", "--interface", "eth0"],
            "cannot use --interface eth0: it is named twice: name it once",
        ),
        *(
            (
                ["--interface", name],
                f"cannot use --interface {name!r}: no interface can have that name: "
                "`ip link` lists the interfaces",
            )
            for name in ("", "a b", "a/b", "sixteen-letters-", "eth0\n", "ééééééééé")
        ),
    ],
)
def test_invalid_interfaces_are_refused(flags, message):
    """Before anything is attached."""
    assert refusal(*flags) == message


def test_no_value_breaks_the_line():
    """User input can neither write a second line into the log nor control the terminal."""
    with pytest.raises(ConfigError) as caught:
        config("--netns", "blue\n\x1b[2J")

    assert str(caught.value).isprintable()


def test_the_endpoint_comes_from_the_flag_and_the_variables():
    """It is made from the whole environment."""
    result = config("--otel-endpoint", "http://c:1", OTEL_EXPORTER_OTLP_TIMEOUT="250").endpoint

    assert (result.target, result.timeout_s) == ("c:1", 0.25)


def test_flags_take_precedence_over_the_standard_variables(tmp_path):
    """Every OTEL_EXPORTER_OTLP_* variable has a flag."""
    result = config(
        *("--otel-endpoint", "collector:4317", "--otel-insecure", "true", "--otel-timeout", "250"),
        *("--otel-compression", "gzip", "--otel-headers", "a=b", "--otel-certificate", "/ca.pem"),
        *("--otel-temporality-preference", "cumulative"),
        OTEL_EXPORTER_OTLP_TIMEOUT="7000",
    )

    assert (result.endpoint.secure, result.endpoint.timeout_s, result.endpoint.gzip) == (False, 0.25, True)
    assert (result.endpoint.headers, result.endpoint.certificate) == ((("a", "b"),), "/ca.pem")
    assert result.temporality is Temporality.CUMULATIVE


def test_without_an_endpoint_the_status_endpoint_is_required():
    """Otherwise the counts would be visible nowhere."""
    assert "give --status-address too" in refusal("--otel-endpoint", "none")
    assert "use OTEL_EXPORTER_OTLP_ENDPOINT=none" in refusal(OTEL_EXPORTER_OTLP_ENDPOINT="none")
    assert config("--otel-endpoint", "none", "--status-address", ":9464").endpoint.target == "none"


@pytest.mark.parametrize(
    "variable", [{"OTEL_SDK_DISABLED": "True"}, {"OTEL_METRICS_EXPORTER": "none"}], ids=str
)
def test_standard_variables_switch_sending_off(variable):
    """As --otel-endpoint none does; a flag that names an endpoint wins."""
    ((name, value),) = variable.items()
    assert refusal(**variable) == (
        f"cannot use {name}={value}: the counts would be visible nowhere: give --status-address too"
    )
    off = config("--status-address", ":9464", OTEL_EXPORTER_OTLP_ENDPOINT="http://c:1", **variable)
    assert (off.sends, off.temporality) == (False, Temporality.CUMULATIVE)
    assert off.warnings == (
        f"nothing is sent, by {name}={value}: the counts are at the status endpoint alone",
    )
    on = config("--otel-endpoint", "http://c:1", **variable)
    assert (on.sends, on.warnings) == (True, ())
    assert config(**{name: "false" if value == "True" else "otlp"}).warnings == ()


def test_a_source_is_required():
    """The error names the flags that give one."""
    with pytest.raises(ConfigError, match=r"no source: give --interface, --map-path, .* or --config"):
        config_from(parser().parse_args(["run"]), {})


def test_a_source_that_is_given_twice_is_refused():
    """By two flags, or by a flag and in a file."""
    assert "cannot read id:1: it is named twice, by a flag and a flag: " in refusal("--map-id", "1")


def test_a_file_and_flags_can_be_combined(tmp_path):
    """The flag's series limit holds for the file's sources too, its profile for the flags' sources only."""
    path = tmp_path / "sources.yaml"
    path.write_text("sources:\n  - {pin: /sys/fs/bpf/flows, series_limit: 7}\n")
    plain = config("--config", str(path))
    limited = config("--config", str(path), "--series-limit", "50", "--profile", "xdp-stats")

    assert [(str(source.map_ref), source.series_limit) for source in plain.sources] == [
        ("id:1", 100_000),
        ("pin:/sys/fs/bpf/flows", 7),
    ]
    assert [source.series_limit for source in limited.sources] == [50, 50]
    assert [source.profile.name if source.profile else None for source in limited.sources] == [
        "xdp-stats",
        None,
    ]
