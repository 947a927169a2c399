# SPDX-License-Identifier: Apache-2.0
"""
Which of OpenTelemetry's standard variables mean something here (pure).

Their names are those of the specification, `configuration/sdk-environment-variables.md` and
`protocol/exporter.md`. The values are read where they are used: `otlp.endpoint`, `otlp.resource`, `config`.
"""

import re
from collections.abc import Iterator, Mapping

from sidecar.suggest import did_you_mean

_OTLP = "OTEL_EXPORTER_OTLP_"

OF_OTLP = (
    "ENDPOINT",
    "PROTOCOL",
    "CERTIFICATE",
    "CLIENT_KEY",
    "CLIENT_CERTIFICATE",
    "HEADERS",
    "COMPRESSION",
    "TIMEOUT",
    "INSECURE",
)
"""After OTEL_EXPORTER_OTLP_METRICS_ or OTEL_EXPORTER_OTLP_."""

HONOURED = (
    *(f"{_OTLP}{name}" for name in OF_OTLP),
    *(f"{_OTLP}METRICS_{name}" for name in OF_OTLP),
    f"{_OTLP}METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRICS_EXPORTER",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
)

WITHOUT_EFFECT: Mapping[str, str] = {
    "OTEL_CONFIG_FILE": "such a file configures an SDK: use flags and variables, and --config for the maps",
    "OTEL_EXPERIMENTAL_CONFIG_FILE": "such a file configures an SDK: use flags and variables",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "write the attributes into OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_EXPORTER_PROMETHEUS_HOST": "give --status-address",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "give --status-address",
    "OTEL_LOG_LEVEL": "set XDP_OTEL_LOG_LEVEL",
    "OTEL_METRIC_EXPORT_TIMEOUT": f"set {_OTLP}TIMEOUT",
    f"{_OTLP}METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "write `as:` in the metric, in the configuration",
}
"""The variables that are about metrics but not read, with what to do instead."""

# Hosts and clusters have them set for everything that runs there.
_OF_OTHERS = re.compile(
    # Other signals; exemplars, of which there are none; limits of attributes, from which metrics are exempt.
    r"OTEL_(EXPORTER_OTLP_)?(TRACES|SPAN|LINK|EVENT|LOGS|LOGRECORD|PROFILES|BSP|BLRP|PROPAGATORS)(_\w+)?"
    r"|OTEL_EXPORTER_(ZIPKIN|JAEGER)_\w+|OTEL_METRICS_EXEMPLAR_FILTER|OTEL_ATTRIBUTE_\w+_LIMIT"
    # SDKs of a language, their instrumentation, and what injects it.
    r"|OTEL_(CPP|DOTNET|ERLANG|GO|JAVA|JAVAAGENT|NODE|NODEJS|PHP|PYTHON|RUBY|RUST|SWIFT|LAMBDA)_\w+"
    r"|OTEL_(INJECTOR|INSTRUMENTATION|SEMCONV|RESOURCE_ATTRIBUTES|POD)_\w+"
    # A Service of Kubernetes, `otel-collector` say.
    r"|OTEL_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def switched_off_by(environ: Mapping[str, str]) -> str | None:
    """Return the variable, with its value, that says to send no metrics, or None."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return f"OTEL_SDK_DISABLED={environ['OTEL_SDK_DISABLED']}"
    if environ.get("OTEL_METRICS_EXPORTER", "").strip() == "none":
        return "OTEL_METRICS_EXPORTER=none"
    return None


def warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that is set for a program like this one and has no effect."""
    # An empty variable counts as unset (specification, configuration/sdk-environment-variables.md).
    for name in sorted(name for name, value in environ.items() if name.startswith("OTEL_") and value):
        if name in WITHOUT_EFFECT:
            yield f"{name} has no effect: {WITHOUT_EFFECT[name]}"
        elif name not in HONOURED and not _OF_OTHERS.fullmatch(name):
            remedy = did_you_mean(name, HONOURED, "docs/configuration.md lists those that are known")
            yield f"{name} has no effect: it is unknown: {remedy}"
    disabled, exporter = environ.get("OTEL_SDK_DISABLED"), environ.get("OTEL_METRICS_EXPORTER")
    if disabled and disabled.strip().lower() not in ("true", "false"):
        yield f"OTEL_SDK_DISABLED={disabled!r} has no effect: not a boolean: set it to true or false"
    if exporter and exporter.strip() not in ("otlp", "none"):
        yield (
            f"OTEL_METRICS_EXPORTER={exporter!r} has no effect: only otlp and none are known: to be scraped "
            "instead, give --otel-endpoint none --status-address localhost:9464"
        )
