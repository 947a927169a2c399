# SPDX-License-Identifier: Apache-2.0
"""The configuration of `xdp-otel run`: flags first, then the environment, then defaults."""

import argparse
import math
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sidecar.describe.file import sources
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import ConfigError
from sidecar.kernel.interface import Interface
from sidecar.model import Temporality
from sidecar.otlp.endpoint import NOWHERE, Endpoint, endpoint_from

DEFAULT_INTERVAL_S = 10.0
SHORTEST_INTERVAL_S = 0.1
LONGEST_INTERVAL_S = 86_400.0
# Each is a flag, `--otel-client-key` for CLIENT_KEY.
OTLP_FLAGS = {
    "CERTIFICATE": "file with the trusted roots, PEM",
    "CLIENT_KEY": "file with the client's key for mTLS, PEM",
    "CLIENT_CERTIFICATE": "file with the client's certificate for mTLS, PEM",
    "HEADERS": "KEY=VALUE,…; who can list processes can read them: the variable is safer",
    "COMPRESSION": "gzip or none",
    "TIMEOUT": "deadline of a call, milliseconds (default 10000)",
    "INSECURE": "true or false: whether a bare HOST:PORT is plaintext",
    "TEMPORALITY_PREFERENCE": "delta (default) or cumulative",
}
DEFAULT_STATE_DIR = Path("/var/lib/xdp-otel")

_Item = TypeVar("_Item", bound=Hashable)


@dataclass(frozen=True)
class Config:
    """
    What to read, where to send it, and how often.

    Attributes:
        sources: What to read, at least one.
        endpoint: Where to send.
        temporality: How counts are said.
        interval_s: Seconds between cycles.
        state_dir: Directory of journal and instance id.
        status: Host and port of the status endpoint, or None.
        self_metrics: Send the sidecar's own metrics too.
        once: Make one cycle and end.

    """

    sources: tuple[SourceSpec, ...]
    endpoint: Endpoint
    temporality: Temporality
    interval_s: float
    state_dir: Path
    status: tuple[str, int] | None
    self_metrics: bool
    once: bool


def config_from(flags: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    """
    Return the configuration.

    Raises:
        ConfigError: A flag or a variable cannot be used.

    """
    environ = {**environ, **_flags_as_variables(flags)}
    endpoint = endpoint_from(flags.otel_endpoint, environ)
    status = _status(flags.status_address or environ.get("XDP_OTEL_STATUS_ADDRESS") or None)
    if endpoint.target == NOWHERE and status is None:
        raise ConfigError(
            f"use --otel-endpoint {NOWHERE}", "nobody would see the counts", "give --status-address too"
        )
    return Config(
        sources=source_specs(flags),
        endpoint=endpoint,
        temporality=_temporality(environ, base_point=flags.base_point),
        interval_s=_interval(flags.interval, environ),
        state_dir=_state_dir(flags.state_dir, environ),
        status=status,
        self_metrics=flags.self_metrics or _boolean(environ, "XDP_OTEL_SELF_METRICS"),
        once=flags.once,
    )


def _flags_as_variables(flags: argparse.Namespace) -> dict[str, str]:
    """Return the flags that stand for a variable, as the variable that wins."""
    given = {variable: getattr(flags, f"otel_{variable.lower()}") for variable in OTLP_FLAGS}
    return {f"OTEL_EXPORTER_OTLP_METRICS_{name}": text for name, text in given.items() if text is not None}


def interfaces_from(flags: argparse.Namespace) -> tuple[Interface, ...]:
    """Return the interfaces of `--interface` and `--netns`; raise ConfigError if one is named twice."""
    names = flags.interface or []
    if flags.netns and not names:
        raise ConfigError(f"use --netns {flags.netns}", "it goes with --interface", "name the interface too")
    twice = _first_met_twice(names)
    if twice is not None:
        raise ConfigError(f"use --interface {twice}", "it is named twice", "name it once")
    for name in names:
        if not name or len(name.encode()) > 15 or "/" in name or any(char.isspace() for char in name):
            raise ConfigError(f"use --interface {name!r}", "no interface can have that name", "see `ip link`")
    return tuple(Interface(name, flags.netns) for name in names)


def source_specs(flags: argparse.Namespace) -> tuple[SourceSpec, ...]:
    """
    Return what is to be read: what the flags name, and then what the configuration files do.

    Raises:
        ConfigError: Nothing is named, or something twice; or the file cannot be used.

    """
    places = [MapRef("interface", one.name, one.netns) for one in interfaces_from(flags)]
    places += [MapRef("pin", str(path)) for path in flags.map_path or ()]
    places += [MapRef("name", name) for name in flags.map_name or ()]
    places += [MapRef("id", str(number)) for number in flags.map_id or ()]
    if flags.profile and not places:
        raise ConfigError(
            f"use --profile {flags.profile}",
            "no flag names a map",
            "in a file, write `profile:` at the source",
        )
    profile = sources.profile(flags.profile) if flags.profile else None
    specs = [SourceSpec(place, profile) for place in places]
    by_variable = os.environ.get("XDP_OTEL_CONFIG")
    for file in flags.config or ([Path(by_variable)] if by_variable else []):
        specs += sources.load(file)
    if flags.series_limit:
        specs = [replace(spec, series_limit=flags.series_limit) for spec in specs]
    if not specs:
        raise ConfigError(
            "choose what to read",
            "no source",
            "give --interface, --map-path, --map-name, --map-id or --config",
        )
    twice = _first_met_twice(spec.map_ref for spec in specs)
    if twice is not None:
        raise ConfigError(f"read {twice}", "it is named twice", "name it once")
    return tuple(specs)


def _first_met_twice(items: Iterable[_Item]) -> _Item | None:
    met: set[_Item] = set()
    for item in items:
        if item in met:
            return item
        met.add(item)
    return None


def _state_dir(flag: str | None, environ: Mapping[str, str]) -> Path:
    if flag == "":
        raise ConfigError("use --state-dir ''", "it is empty", f"the default is {DEFAULT_STATE_DIR}")
    return Path(flag or environ.get("XDP_OTEL_STATE_DIR") or DEFAULT_STATE_DIR)


def _status(address: str | None) -> tuple[str, int] | None:
    if address is None:
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not host.isascii() or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigError(
            f"use --status-address {address!r}", "not HOST:PORT", "write localhost:9464, or :9464 for all"
        )
    return host.strip("[]"), int(port)


def _temporality(environ: Mapping[str, str], *, base_point: bool) -> Temporality:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    # lowmemory means delta for the synchronous counters that these are.
    known = {"delta": Temporality.DELTA, "lowmemory": Temporality.DELTA, "cumulative": Temporality.CUMULATIVE}
    text = environ.get(name) or "delta"
    if text.lower() not in known:
        raise ConfigError(f"use {name}={text!r}", "unknown", "set it to delta or cumulative")
    temporality = known[text.lower()]
    if not base_point and not _boolean(environ, "XDP_OTEL_BASE_POINT"):
        return temporality
    if temporality is Temporality.CUMULATIVE:
        raise ConfigError("use --base-point", f"{name} is cumulative", "it goes with delta only")
    return Temporality.DELTA_WITH_BASE


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "false"
    if text.lower() not in ("true", "false"):
        raise ConfigError(f"use {name}={text!r}", "not a boolean", "set it to true or false")
    return text.lower() == "true"


def _interval(flag: str | None, environ: Mapping[str, str]) -> float:
    variable = environ.get("OTEL_METRIC_EXPORT_INTERVAL")
    if flag is not None:
        return _seconds(flag, "--interval", 1.0)
    if variable:
        return _seconds(variable, "OTEL_METRIC_EXPORT_INTERVAL (milliseconds)", 1000.0)
    return DEFAULT_INTERVAL_S


def _seconds(text: str, name: str, divisor: float) -> float:
    try:
        seconds = float(text) / divisor
    except ValueError:
        seconds = math.nan
    if not SHORTEST_INTERVAL_S <= seconds <= LONGEST_INTERVAL_S:
        raise ConfigError(
            f"use {name} {text!r}",
            f"not a time from {SHORTEST_INTERVAL_S:g} s to {LONGEST_INTERVAL_S:g} s",
            f"the default is {DEFAULT_INTERVAL_S:g} s",
        )
    return seconds
