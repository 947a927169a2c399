# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar.errors import ConfigError
from sidecar.otlp.endpoint import Endpoint, endpoint_from

GENERAL = "OTEL_EXPORTER_OTLP_"
FLAG = "--otel-endpoint"
METRICS = "OTEL_EXPORTER_OTLP_METRICS_"


def test_the_default_is_the_collector_on_this_machine():
    """Plaintext to localhost:4317, ten seconds a call."""
    assert endpoint_from({}) == Endpoint("localhost:4317", secure=False, timeout_s=10.0)


@pytest.mark.parametrize(
    ("address", "target", "secure"),
    [
        # A bare address is plaintext on this machine only.
        ("localhost:4317", "localhost:4317", False),
        ("127.0.0.1:4317", "127.0.0.1:4317", False),
        ("127.8.8.8:1", "127.8.8.8:1", False),
        ("[::1]:4317", "[::1]:4317", False),
        ("collector:4317", "collector:4317", True),
        ("localhost.example.org:4317", "localhost.example.org:4317", True),
        ("192.0.2.7:65535", "192.0.2.7:65535", True),
        ("[2001:db8::7]:4317", "[2001:db8::7]:4317", True),
        # A scheme decides.
        ("http://collector:4317", "collector:4317", False),
        ("http://collector:4317/", "collector:4317", False),
        ("http://[2001:db8::7]:4317", "[2001:db8::7]:4317", False),
        ("https://localhost:4317", "localhost:4317", True),
        ("HTTPS://collector:4317", "collector:4317", True),
        ("Http://collector:4317", "collector:4317", False),
        # A socket is on this machine.
        ("unix:/run/otel.sock", "unix:/run/otel.sock", False),
        ("unix:///run/otel.sock", "unix:///run/otel.sock", False),
    ],
)
def test_an_address_sets_target_and_transport(address, target, secure):
    """From the flag and from either variable alike."""
    expected = Endpoint(target, secure=secure)

    assert endpoint_from({FLAG: address}) == expected
    assert endpoint_from({f"{GENERAL}ENDPOINT": address}) == expected
    assert endpoint_from({f"{METRICS}ENDPOINT": address}) == expected


@pytest.mark.parametrize(
    ("address", "insecure", "secure"),
    [
        ("collector:4317", "true", False),
        ("collector:4317", "TRUE", False),
        ("collector:4317", "false", True),
        ("localhost:4317", "false", True),
        ("localhost:4317", "", False),
        ("https://collector:4317", "true", True),
        ("http://collector:4317", "false", False),
    ],
)
def test_insecure_applies_only_without_a_scheme(address, insecure, secure):
    """OTEL_EXPORTER_OTLP_INSECURE is for bare addresses (specification, protocol/exporter.md)."""
    assert endpoint_from({FLAG: address, f"{GENERAL}INSECURE": insecure}).secure is secure


def test_the_flag_overrides_the_variables_and_the_signals_own_the_general_one():
    """The most specific setting wins."""
    environ = {f"{GENERAL}ENDPOINT": "general:1"}
    assert endpoint_from(environ).target == "general:1"
    environ[f"{METRICS}ENDPOINT"] = "metrics:2"
    assert endpoint_from(environ).target == "metrics:2"
    assert endpoint_from({FLAG: "flag:3", **environ}).target == "flag:3"


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("HEADERS", "a=b", "headers", (("a", "b"),)),
        ("CERTIFICATE", "/ca.pem", "certificate", "/ca.pem"),
        ("COMPRESSION", "gzip", "gzip", True),
        ("TIMEOUT", "250", "timeout_s", 0.25),
        ("PROTOCOL", "grpc", "target", "localhost:4317"),
    ],
)
def test_each_variable_has_its_effect(variable, value, field, expected):
    """General or for metrics; the one for metrics wins, and an empty one counts as unset."""
    default = getattr(endpoint_from({}), field)
    other = {
        "HEADERS": "x=y",
        "CERTIFICATE": "/other",
        "COMPRESSION": "none",
        "TIMEOUT": "9",
        "PROTOCOL": "grpc",
    }

    assert getattr(endpoint_from({f"{GENERAL}{variable}": value}), field) == expected
    assert getattr(endpoint_from({f"{METRICS}{variable}": value}), field) == expected
    both = {f"{GENERAL}{variable}": other[variable], f"{METRICS}{variable}": value}
    assert getattr(endpoint_from(both), field) == expected
    empty = {f"{GENERAL}{variable}": value, f"{METRICS}{variable}": ""}
    assert getattr(endpoint_from(empty), field) == expected
    assert getattr(endpoint_from({f"{GENERAL}{variable}": ""}), field) == default


def test_a_client_needs_a_key_and_a_certificate():
    """mTLS takes two files."""
    environ = {f"{GENERAL}CLIENT_KEY": "/key.pem", f"{GENERAL}CLIENT_CERTIFICATE": "/client.pem"}
    endpoint = endpoint_from({FLAG: "https://collector:4317", **environ})

    assert (endpoint.client_key, endpoint.client_certificate) == ("/key.pem", "/client.pem")


@pytest.mark.parametrize("given", ["CLIENT_KEY", "CLIENT_CERTIFICATE"])
def test_half_of_a_key_pair_is_refused(given):
    """gRPC would end the process on one without the other."""
    (missing,) = {"CLIENT_KEY", "CLIENT_CERTIFICATE"} - {given}
    with pytest.raises(ConfigError, match=f"{GENERAL}{missing}"):
        endpoint_from({FLAG: "https://collector:4317", f"{GENERAL}{given}": "/some.pem"})


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("authorization=Bearer abc", (("authorization", "Bearer abc"),)),
        ("Authorization=Basic%20dXNlcjpwYXNz%3D", (("authorization", "Basic dXNlcjpwYXNz="),)),
        ("a=1,b=2", (("a", "1"), ("b", "2"))),
        (" a = 1 , b=2 ,", (("a", "1"), ("b", "2"))),
        ("token=a=b==", (("token", "a=b=="),)),
        ("x%2Dkey=v", (("x-key", "v"),)),
        ("empty=", (("empty", ""),)),
        ("comma=a%2Cb", (("comma", "a,b"),)),
        (",,", ()),
    ],
)
def test_headers_are_percent_decoded_and_their_keys_are_lower_case(text, headers):
    """As in W3C baggage, without properties (specification, protocol/exporter.md)."""
    assert endpoint_from({f"{GENERAL}HEADERS": text}).headers == headers


SECRET = "s3cr3t"  # noqa: S105


@pytest.mark.parametrize(
    "text",
    [
        f"authorization=Bearer {SECRET},oops",
        f"authorization {SECRET}",
        f"={SECRET}",
        f" = {SECRET}",
        f"my key={SECRET}",
        f"schlüssel={SECRET}",
        f"schl%C3%BCssel={SECRET}",
        f":path={SECRET}",
        f"authorization={SECRET}%0D%0Ax-admin: 1",
        f"authorization={SECRET}%00",
        f"authorization={SECRET}é",
        f"token-bin={SECRET}",
    ],
)
def test_headers_that_cannot_be_sent_are_refused_and_never_shown(text):
    """Otherwise each call would fail for no visible reason; and a value may be a secret."""
    with pytest.raises(ConfigError) as caught:
        endpoint_from({f"{GENERAL}HEADERS": text})

    assert f"{GENERAL}HEADERS" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ENDPOINT", "collector", "'collector': not a host and a port: write HOST:PORT, http"),
        ("ENDPOINT", "collector:", "not a host and a port"),
        ("ENDPOINT", ":4317", "not a host and a port"),
        ("ENDPOINT", "http://", "not a host and a port"),
        ("ENDPOINT", "collector:0", "not a host and a port"),
        ("ENDPOINT", "collector:4317/v1/metrics", "not a host and a port"),
        ("ENDPOINT", "http://collector:4317?a=b", "not a host and a port"),
        ("ENDPOINT", "http://collector:4317#a", "not a host and a port"),
        ("ENDPOINT", "col lector:4317", "not a host and a port"),
        ("ENDPOINT", "collector:99999", "[Pp]ort"),
        ("ENDPOINT", "collector:otlp", "[Pp]ort"),
        ("ENDPOINT", "::1", "[Pp]ort|not a host and a port"),
        ("ENDPOINT", "[::1:4317", "."),
        (
            "ENDPOINT",
            "grpc://collector:4317",
            "'grpc://collector:4317': unknown scheme 'grpc': write HOST:PORT",
        ),
        ("ENDPOINT", "dns:///collector:4317", "unknown scheme 'dns'"),
        ("INSECURE", "yes", "'yes'.*: not a boolean: set it to true or false"),
        ("INSECURE", "1", "not a boolean"),
        ("PROTOCOL", "http/json", "'http/json'.*: unsupported protocol: set it to grpc or http/protobuf"),
        ("COMPRESSION", "zstd", "'zstd'.*: unsupported compression: set it to gzip or none"),
        ("TIMEOUT", "0", "'0'.*: not a number of milliseconds"),
        ("TIMEOUT", "10s", "not a number of milliseconds"),
        ("TIMEOUT", "-1", "not a number of milliseconds"),
        ("TIMEOUT", "1.5", "not a number of milliseconds"),
        ("TIMEOUT", "٣", "not a number of milliseconds"),
        ("TIMEOUT", "9" * 15, "milliseconds"),
        ("TIMEOUT", "9" * 5000, "milliseconds"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(variable, value, message):
    """One line: the variable, what is wrong with it, and what would be right."""
    with pytest.raises(ConfigError, match=message) as caught:
        endpoint_from({f"{GENERAL}{variable}": value})

    assert f"{GENERAL}{variable}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variable", ["ENDPOINT", "INSECURE", "PROTOCOL", "HEADERS", "COMPRESSION", "TIMEOUT"]
)
def test_the_error_names_the_variable_that_was_set(variable):
    """OTEL_EXPORTER_OTLP_METRICS_TIMEOUT, not OTEL_EXPORTER_OTLP_TIMEOUT."""
    with pytest.raises(ConfigError, match=f"^cannot use {METRICS}{variable}\\b"):
        endpoint_from({f"{METRICS}{variable}": "?"})


@pytest.mark.parametrize("name", ["insecure", "headers", "compression", "timeout"])
def test_the_error_names_each_flag(name):
    """Not the variables that it overrides, even if it is empty."""
    environ = {f"{prefix}{name.upper()}": "?" for prefix in (GENERAL, METRICS)}
    with pytest.raises(ConfigError, match=f"^cannot use --otel-{name}\\b"):
        endpoint_from({f"--otel-{name}": "?", **environ})

    assert endpoint_from({f"--otel-{name}": "", **environ}) == endpoint_from({})


def test_half_of_a_key_pair_by_flag_is_refused():
    """With the flag that is missing."""
    with pytest.raises(ConfigError, match=r"=/k for mTLS: .* set --otel-client-certificate too"):
        endpoint_from({"--otel-client-key": "/k"})


def test_the_error_names_the_flag():
    """Not the variable that it overrides."""
    with pytest.raises(
        ConfigError, match=r"^cannot use --otel-endpoint[ =]'here': not a host and a port: write HOST:PORT"
    ):
        endpoint_from({FLAG: "here", f"{GENERAL}ENDPOINT": "collector:4317"})


@pytest.mark.parametrize("address", [f"http://user:{SECRET}@collector:4317", f"user:{SECRET}@collector:4317"])
def test_a_password_in_an_address_is_refused_and_not_shown(address):
    """It would not be used, and must not reach the log."""
    with pytest.raises(ConfigError) as caught:
        endpoint_from({FLAG: address})

    assert SECRET not in str(caught.value)


HTTP = {f"{GENERAL}PROTOCOL": "http/protobuf"}


@pytest.mark.parametrize(
    ("settings", "target", "path", "secure"),
    [
        ({}, "localhost:4318", "/v1/metrics", False),
        ({f"{GENERAL}ENDPOINT": "https://collector"}, "collector:443", "/v1/metrics", True),
        ({f"{GENERAL}ENDPOINT": "http://collector/"}, "collector:80", "/v1/metrics", False),
        ({f"{GENERAL}ENDPOINT": "http://p:9090/api/v1/otlp"}, "p:9090", "/api/v1/otlp/v1/metrics", False),
        ({f"{GENERAL}ENDPOINT": "http://[::1]:4318"}, "[::1]:4318", "/v1/metrics", False),
        ({f"{GENERAL}ENDPOINT": "collector:4318"}, "collector:4318", "/v1/metrics", True),
        ({f"{GENERAL}METRICS_ENDPOINT": "http://collector:4318/x"}, "collector:4318", "/x", False),
        ({f"{GENERAL}METRICS_ENDPOINT": "http://collector:4318"}, "collector:4318", "/", False),
        ({"--otel-endpoint": "http://collector:4318/x"}, "collector:4318", "/x/v1/metrics", False),
    ],
)
def test_urls_of_otlp_http(settings, target, path, secure):
    """Specification, `protocol/exporter.md`, "Endpoint URLs for OTLP/HTTP"."""
    endpoint = endpoint_from({**HTTP, **settings})
    assert (endpoint.target, endpoint.path, endpoint.secure) == (target, path, secure)


@pytest.mark.parametrize(
    "address", ["unix:/run/otel.sock", "http://", "http://c:1?x=1", "ftp://c", "http://a@b"]
)
def test_addresses_that_are_no_url(address):
    with pytest.raises(ConfigError, match="ENDPOINT"):
        endpoint_from({**HTTP, f"{GENERAL}ENDPOINT": address})


def test_headers_that_describe_the_request_are_refused_over_http():
    with pytest.raises(ConfigError, match="it has content-type, which describes the request: leave it out"):
        endpoint_from({**HTTP, f"{GENERAL}HEADERS": "Content-Type=text/plain"})
