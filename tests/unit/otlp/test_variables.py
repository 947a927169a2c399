# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
from opentelemetry.sdk import environment_variables

from sidecar.config import OTLP_FLAGS
from sidecar.otlp.endpoint import endpoint_from
from sidecar.otlp.variables import HONOURED, OF_OTLP, WITHOUT_EFFECT, warnings

DOCUMENT = Path(__file__).parents[3] / "docs/configuration.md"

WELL_SET = {**dict.fromkeys(HONOURED, "x"), "OTEL_SDK_DISABLED": "false", "OTEL_METRICS_EXPORTER": "otlp"}


def of(**environ):
    return list(warnings(environ))


def test_what_is_honoured_is_silent():
    """All of the variables that have a flag are honoured, and so is whatever is empty."""
    assert (
        of(**dict.fromkeys(HONOURED[:-6], "x"), OTEL_METRIC_EXPORT_INTERVAL="1", OTEL_SERVICE_NAME="s") == []
    )
    assert of(OTEL_CONFIG_FILE="", OTEL_NOSUCH="", PATH="/bin", XDP_OTEL_CONFIG="a") == []
    flags = {f"OTEL_EXPORTER_OTLP_METRICS_{name}" for name in ("ENDPOINT", *OTLP_FLAGS)}
    assert flags == {name for name in HONOURED if name.startswith("OTEL_EXPORTER_OTLP_METRICS_")}


def test_a_general_variable_of_otlp_is_really_read():
    """The table is no promise that nothing keeps: a wrong value of each is noticed."""
    for name in OF_OTLP:
        if name in ("CERTIFICATE", "ENDPOINT"):
            continue
        with pytest.raises(Exception, match=f"OTEL_EXPORTER_OTLP_{name}"):
            endpoint_from({f"OTEL_EXPORTER_OTLP_{name}": "?"})


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_what_has_no_effect_is_said_with_a_remedy(name):
    assert of(**{name: "x"}) == [f"{name} has no effect: {WITHOUT_EFFECT[name]}"]


@pytest.mark.parametrize(
    "name",
    [
        "OTEL_TRACES_EXPORTER",
        "OTEL_TRACES_SAMPLER",
        "OTEL_LOGS_EXPORTER",
        "OTEL_PROPAGATORS",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
        "OTEL_JAVAAGENT_ENABLED",
        "OTEL_RESOURCE_ATTRIBUTES_POD_NAME",
        "OTEL_NODE_IP",
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        "OTEL_COLLECTOR_SERVICE_HOST",
        "OTEL_COLLECTOR_SERVICE_PORT",
        "OTEL_COLLECTOR_SERVICE_PORT_OTLP_GRPC",
        "OTEL_COLLECTOR_PORT",
        "OTEL_COLLECTOR_PORT_4317_TCP",
        "OTEL_COLLECTOR_PORT_4317_TCP_ADDR",
    ],
)
def test_what_is_for_others_is_silent(name):
    """Such variables are set for whole hosts and clusters."""
    assert of(**{name: "x"}) == []


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENPOINT": "http://c:1"},
            "OTEL_EXPORTER_OTLP_ENPOINT has no effect: it is unknown: did you mean "
            "'OTEL_EXPORTER_OTLP_ENDPOINT'? docs/configuration.md lists those that are known",
        ),
        (
            {"OTEL_WEATHER": "fair"},
            "OTEL_WEATHER has no effect: it is unknown: docs/configuration.md lists those that are known",
        ),
        (
            {"OTEL_SDK_DISABLED": "1"},
            "OTEL_SDK_DISABLED='1' has no effect: not a boolean: set it to true or false",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus"},
            "OTEL_METRICS_EXPORTER='prometheus' has no effect: only otlp and none are known: to be scraped "
            "instead, give --otel-endpoint none --status-address localhost:9464",
        ),
    ],
)
def test_what_is_not_understood_is_said(variable, line):
    assert of(**variable) == [line]


def test_no_variable_of_the_sdk_is_unknown():
    """Each variable that the specification and its SDK define is in the table, one way or the other."""
    names = [name for name in dir(environment_variables) if name.startswith("OTEL_")]
    said = of(**{**dict.fromkeys(names, "x"), **WELL_SET})
    assert len(names) > 50
    assert {line.split()[0] for line in said} <= set(WITHOUT_EFFECT)


def test_the_documentation_has_the_table():
    text = DOCUMENT.read_text()
    section = text.partition("## Standard variables\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([A-Z_]+)`", section))
    general = {name.replace("OTLP_METRICS_", "OTLP_") for name in HONOURED if not name.endswith("PREFERENCE")}
    assert general | set(WITHOUT_EFFECT) <= listed
    assert "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" in listed
