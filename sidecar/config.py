# SPDX-License-Identifier: Apache-2.0
"""The configuration of `xdp-otel run`, in order of precedence: flags, environment, defaults."""

import argparse
import math
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sidecar.describe import directions
from sidecar.describe.directions import in_directions
from sidecar.describe.file import sources
from sidecar.describe.packet_sizes import with_packet_sizes
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import ConfigError, each
from sidecar.kernel.interface import Interface, is_interface_name, is_interface_name_or_pattern, is_pattern
from sidecar.model import Temporality
from sidecar.otlp import variables
from sidecar.otlp.endpoint import NOWHERE, Endpoint, endpoint_from, flag_name, nowhere_by

DEFAULT_INTERVAL_S = 10.0
SHORTEST_INTERVAL_S = 0.1
LONGEST_INTERVAL_S = 86_400.0
# Each of these OTEL_EXPORTER_OTLP_METRICS_* variables has a flag: CLIENT_KEY is `--otel-client-key`.
OTLP_FLAGS = {
    "PROTOCOL": "grpc (default) or http/protobuf",
    "CERTIFICATE": "file with the trusted roots, PEM",
    "CLIENT_KEY": "file with the client's key for mTLS, PEM",
    "CLIENT_CERTIFICATE": "file with the client's certificate for mTLS, PEM",
    "HEADERS": "KEY=VALUE,…; visible in the process list: the variable is safer",
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
        sources: The maps to read, at least one.
        endpoint: Where to send.
        temporality: Aggregation temporality of the sums.
        interval_s: Seconds between cycles.
        state_dir: Directory of the journal and the instance id.
        status: Host and port of the status endpoint, or None.
        self_metrics: Whether to send the sidecar's own metrics too.
        program_stats: Whether to count the runs of the programs whose maps are read.
        once: Whether to end after one cycle.
        state_dir_variable: The variable that names the state directory; empty if it is a flag or the default.
        warnings: What standard variables say that is not done, or that the user may not expect; lines.

    """

    sources: tuple[SourceSpec, ...]
    endpoint: Endpoint
    temporality: Temporality
    interval_s: float
    state_dir: Path
    status: tuple[str, int] | None
    self_metrics: bool
    program_stats: bool
    once: bool
    state_dir_variable: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def sends(self) -> bool:
        """Whether counts are sent, not only served at the status endpoint."""
        return self.endpoint.target != NOWHERE


def config_from(flags: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    """
    Return the configuration.

    Raises:
        ConfigError: A flag, a variable or a configuration file is refused.

    """
    settings = {**environ, **_otlp_flags(flags)}
    endpoint = endpoint_from(settings)
    temporality = _temporality(settings, base_point=flags.base_point)
    status = _status(flags.status_address, environ)
    if endpoint.target == NOWHERE and status is None:
        raise ConfigError(
            f"use {nowhere_by(settings)}",
            "the counts would be visible nowhere",
            "give --status-address too",
        )
    return Config(
        sources=source_specs(flags),
        endpoint=endpoint,
        # What is scraped are totals.
        temporality=Temporality.CUMULATIVE if endpoint.target == NOWHERE else temporality,
        interval_s=_interval(flags.interval, environ),
        state_dir=_state_dir(flags.state_dir, environ),
        state_dir_variable="XDP_OTEL_STATE_DIR"
        if environ.get("XDP_OTEL_STATE_DIR") and not flags.state_dir
        else "",
        status=status,
        self_metrics=flags.self_metrics or _boolean(environ, "XDP_OTEL_SELF_METRICS"),
        program_stats=flags.program_stats or _boolean(environ, "XDP_OTEL_PROGRAM_STATS"),
        once=flags.once,
        warnings=tuple(_warnings(settings)),
    )


def _warnings(settings: Mapping[str, str]) -> Iterator[str]:
    off, by = nowhere_by(settings), variables.switched_off_by(settings)
    if by and off == by:
        yield f"nothing is sent, by {by}: the counts are at the status endpoint alone"
    yield from variables.warnings(settings)


def _otlp_flags(flags: argparse.Namespace) -> dict[str, str]:
    """Return the `--otel-*` flags that were given, by their names: an error names what was used."""
    values = {flag_name(name): getattr(flags, f"otel_{name.lower()}") for name in ("ENDPOINT", *OTLP_FLAGS)}
    return {flag: text for flag, text in values.items() if text is not None}


def interfaces_from(flags: argparse.Namespace) -> tuple[Interface, ...]:
    """
    Return the interfaces of `--interface` and `--netns`, among them patterns (`kernel.interface`).

    Raises ConfigError if one is wrong or repeated.
    """
    names = flags.interface or []
    if flags.netns and not names and not any(":" in name for name in getattr(flags, "map_name", None) or ()):
        raise ConfigError(f"use --netns {flags.netns}", "it goes with --interface", "name the interface too")
    repeated = _first_repeated(names)
    if repeated is not None:
        raise ConfigError(f"use --interface {repeated}", "it is named twice", "name it once")
    for name in names:
        if not is_interface_name_or_pattern(name):
            raise ConfigError(
                f"use --interface {name!r}",
                "no interface can have that name",
                "`ip link` lists the interfaces",
            )
    return tuple(Interface(name, flags.netns) for name in names)


def exclusions_from(flags: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the shell patterns of the interfaces that patterns of the flags leave out; raise ConfigError."""
    name, patterns = "--exclude-interface", flags.exclude_interface
    if not patterns:
        name = "XDP_OTEL_EXCLUDE_INTERFACE"
        patterns = [each.strip() for each in (environ.get(name) or "").split(",") if each.strip()]
    elif not any(map(is_pattern, flags.interface or ())):
        raise ConfigError(
            f"use {name} {patterns[0]}",
            "no --interface is a pattern",
            "write --interface 'eth*' or --interface auto; in a configuration file, write `exclude:`",
        )
    for pattern in patterns:
        if not is_interface_name_or_pattern(pattern):
            raise ConfigError(f"use {name} {pattern!r}", "no interface can match it", "write 'veth*'")
    return tuple(patterns)


def direction_from(flags: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """Return which of `directions.CHOICES` the interfaces of the flags are counted in; raise ConfigError."""
    name, choice = "--direction", str(flags.direction or "")
    if not choice:
        name, choice = "XDP_OTEL_DIRECTION", environ.get("XDP_OTEL_DIRECTION") or directions.DEFAULT
    elif not flags.interface:
        raise ConfigError(
            f"use {name} {choice}",
            "it goes with --interface",
            "in a configuration file, write `direction:` in the source",
        )
    if choice not in directions.CHOICES:
        remedy = f"set it to {', '.join(directions.CHOICES)}"
        raise ConfigError(f"use {name}={choice!r}", "unknown direction", remedy)
    return choice


def packet_sizes_from(flags: argparse.Namespace, environ: Mapping[str, str]) -> bool:
    """Return whether packet sizes of the interfaces of the flags are counted; raise ConfigError."""
    if flags.packet_sizes and not flags.interface:
        remedy = "in a configuration file, write `packet_sizes: true` in the source"
        raise ConfigError("use --packet-sizes", "it goes with --interface", remedy)
    return flags.packet_sizes or _boolean(environ, "XDP_OTEL_PACKET_SIZES")


def source_specs(flags: argparse.Namespace) -> tuple[SourceSpec, ...]:
    """
    Return the sources: those of the flags, then those of the configuration files.

    Raises:
        ConfigError: There is no source, one is given twice, or a configuration file is refused.

    """
    map_refs = [MapRef("interface", interface.name, interface.netns) for interface in interfaces_from(flags)]
    map_refs += [MapRef("pin", str(path)) for path in flags.map_path or ()]
    map_refs += [_by_name(name, flags.netns) for name in flags.map_name or ()]
    map_refs += [MapRef("id", str(number)) for number in flags.map_id or ()]
    if flags.profile and not map_refs:
        raise ConfigError(
            f"use --profile {flags.profile}",
            "no flag names a map",
            "in a configuration file, write `profile:` in the source",
        )
    profile = sources.profile(flags.profile) if flags.profile else None
    direction = direction_from(flags, os.environ)
    exclude = exclusions_from(flags, os.environ)
    named = [
        SourceSpec(map_ref, profile, exclude=exclude if map_ref.is_pattern else ()) for map_ref in map_refs
    ]
    specs = [spec for each_named in named for spec in in_directions(each_named, direction)]
    if packet_sizes_from(flags, os.environ):
        specs = list(with_packet_sizes(specs))
    by_variable = os.environ.get("XDP_OTEL_CONFIG")
    by, files = "--config", flags.config
    if by_variable and not files:
        by, files = "XDP_OTEL_CONFIG", [Path(by_variable)]
    for found in each(partial(sources.load, by=by), files or ()):
        specs += found
    if flags.series_limit:
        specs = [replace(spec, series_limit=flags.series_limit) for spec in specs]
    if not specs:
        raise ConfigError(
            "choose what to read",
            "no source",
            "give --interface, --map-path, --map-name, --map-id or --config",
        )
    repeated = _first_repeated(spec.map_ref for spec in specs)
    if repeated is not None:
        places = sorted(spec.at or "a flag" for spec in specs if spec.map_ref == repeated)
        raise ConfigError(f"read {repeated}", f"it is named twice, by {' and '.join(places)}", "name it once")
    return tuple(specs)


def _by_name(text: str, netns: str | None) -> MapRef:
    """Return the map of `--map-name`: `flows`, or `eth0:flows`; a map's name has no colon."""
    interface, colon, name = text.rpartition(":")
    if not colon:
        return MapRef("name", text)
    if not name or ":" in interface or not is_interface_name(interface):
        raise ConfigError(
            f"use --map-name {text!r}",
            "neither a map's name nor IF:NAME",
            "write eth0:flows for the map flows of the program on eth0",
        )
    return MapRef("attached", interface, netns, map=name)


def _first_repeated(items: Iterable[_Item]) -> _Item | None:
    seen: set[_Item] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _state_dir(flag: str | None, environ: Mapping[str, str]) -> Path:
    if flag == "":
        raise ConfigError(
            "use --state-dir ''", "empty", f"name a directory; the default is {DEFAULT_STATE_DIR}"
        )
    return Path(flag or environ.get("XDP_OTEL_STATE_DIR") or DEFAULT_STATE_DIR)


def _status(flag: str | None, environ: Mapping[str, str]) -> tuple[str, int] | None:
    address, name = flag, "--status-address"
    if not address:
        name = "XDP_OTEL_STATUS_ADDRESS"
        address = environ.get(name)
    if not address:
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not host.isascii() or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigError(
            f"use {name} {address!r}",
            "not HOST:PORT",
            "write localhost:9464, or :9464 for all addresses",
        )
    return host.strip("[]"), int(port)


def _temporality(settings: Mapping[str, str], *, base_point: bool) -> Temporality:
    # lowmemory means delta for synchronous counters, and these count as such.
    known = {"delta": Temporality.DELTA, "lowmemory": Temporality.DELTA, "cumulative": Temporality.CUMULATIVE}
    flag = flag_name("TEMPORALITY_PREFERENCE")
    name = flag if flag in settings else "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    text = settings.get(name) or "delta"
    if text.lower() not in known:
        raise ConfigError(f"use {name}={text!r}", "unknown", "set it to delta or cumulative")
    temporality = known[text.lower()]
    if not base_point and not _boolean(settings, "XDP_OTEL_BASE_POINT"):
        return temporality
    if temporality is Temporality.CUMULATIVE:
        used = "--base-point" if base_point else "XDP_OTEL_BASE_POINT=true"
        raise ConfigError(f"use {used}", f"{name} is cumulative", "use it with delta")
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
            f"not a time between {SHORTEST_INTERVAL_S:g} s and {LONGEST_INTERVAL_S:g} s",
            f"the default is {DEFAULT_INTERVAL_S:g} s",
        )
    return seconds
