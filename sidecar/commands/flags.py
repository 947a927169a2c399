# SPDX-License-Identifier: Apache-2.0
"""The flags of the commands, by what they are about: one declaration each, whichever commands have them."""

import argparse
import re
from pathlib import Path

from sidecar.config import OTLP_FLAGS


class _Once(argparse.Action):
    """Refuse a flag that is given twice: the last one would silently be that of all interfaces."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(
                f"argument {option_string}: given twice; a configuration file has one for each interface"
            )
        setattr(namespace, self.dest, values)


def add_debug(command: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    command.add_argument("--debug", action="store_true", help="log more")


def _add_netns(to: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    to.add_argument(
        "--netns", action=_Once, metavar="NETNS", help="network namespace that the interfaces are in"
    )


def add_interface(command: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--interface` and the namespace that goes with it."""
    command.add_argument(
        "--interface",
        action="append",
        required=required,
        metavar="IF",
        help="the shipped program there: attach it and read its map; repeatable",
    )
    _add_netns(command)


def add_sources(command: argparse.ArgumentParser) -> None:
    """Add what says which maps are read, and what is made of them: see `config.source_specs`."""
    group = command.add_argument_group("what to read (any number of them)")
    group.add_argument(
        "--interface",
        action="append",
        metavar="IF",
        help="the map of the shipped program on that interface; `run` attaches it there",
    )
    _add_netns(group)
    group.add_argument(
        "--map-path",
        action="append",
        type=Path,
        metavar="PIN",
        help="the map pinned there, which needs the least rights; follows a new map under the same pin",
    )
    group.add_argument(
        "--map-name", action="append", metavar="NAME", help="the one map of that name (CAP_SYS_ADMIN)"
    )
    group.add_argument(
        "--map-id", action="append", type=_map_id, metavar="ID", help="the map with that id (CAP_SYS_ADMIN)"
    )
    group.add_argument(
        "--config",
        action="append",
        type=Path,
        metavar="FILE",
        help="YAML file that names maps and what is made of them (XDP_OTEL_CONFIG; docs/configuration.md)",
    )
    group.add_argument(
        "--profile",
        metavar="PROFILE",
        help="what is made of the maps named by flags: a built-in profile, or a YAML file",
    )
    group.add_argument(
        "--series-limit",
        type=_count,
        metavar="N",
        help="most series of a map; what is beyond is added up to one (default 100000)",
    )


def add_delivery(command: argparse.ArgumentParser) -> None:
    """Add what says where counts are sent, how and how often: see `config.config_from`."""
    group = command.add_argument_group("where to send it")
    group.add_argument("--interval", metavar="SECONDS", help="time between cycles, e.g. 0.5 (default 10)")
    group.add_argument(
        "--otel-endpoint",
        metavar="HOST:PORT",
        help="OTLP/gRPC endpoint (default localhost:4317); http:// or https:// before it decides over TLS; "
        "none: send nothing, the counts are on the status endpoint",
    )
    for variable, text in OTLP_FLAGS.items():
        flag = f"--otel-{variable.lower().replace('_', '-')}"
        group.add_argument(flag, metavar="VALUE", help=f"{text} (OTEL_EXPORTER_OTLP_METRICS_{variable})")
    group.add_argument(
        "--state-dir",
        metavar="DIR",
        help="journal and instance id (default /var/lib/xdp-otel; XDP_OTEL_STATE_DIR)",
    )
    group.add_argument(
        "--base-point",
        action="store_true",
        help="send with each delta what came before it: exact through restarts of the Collector that ships "
        "with xdp-otel; not for other backends (XDP_OTEL_BASE_POINT=true)",
    )
    group.add_argument(
        "--status-address",
        metavar="HOST:PORT",
        help="serve /healthz, /readyz and /metrics there (off by default; XDP_OTEL_STATUS_ADDRESS)",
    )
    group.add_argument(
        "--self-metrics",
        action="store_true",
        help="send the sidecar's own metrics as well (XDP_OTEL_SELF_METRICS=true)",
    )
    group.add_argument("--once", action="store_true", help="make one cycle, have it acknowledged, and exit")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _map_id(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a map id")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """Return a time from 0.1 s to a day; the type of `top --interval`."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 0.1 s to 86400 s")
    return number


def iterations(text: str) -> int:
    """Return a number of rounds; the type of `top --iterations`."""
    return _count(text)
