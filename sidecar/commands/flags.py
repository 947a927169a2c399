# SPDX-License-Identifier: Apache-2.0
"""The flags of each command; a flag that several commands share is declared once."""

import argparse
import re
from pathlib import Path

from sidecar.commands.log_flags import add_log_flags
from sidecar.commands.usage import MisuseError
from sidecar.config import OTLP_FLAGS
from sidecar.describe.directions import CHOICES
from sidecar.otlp.endpoint import flag_name

_Group = argparse._ArgumentGroup  # noqa: SLF001  # what `add_argument_group` returns has no public name


def run_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags of `run`: `config.config_from` reads them."""
    _add_sources(command)
    _add_delivery(command)
    add_log_flags(command)


def check_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags of `check`: those of `run`, which it takes unchanged, and one of its own."""
    run_flags(command)
    command.add_argument(
        "--no-endpoint", action="store_true", help="skip the Collector, which may not be up yet"
    )


def discover_flags(command: argparse.ArgumentParser) -> None:
    """Declare the argument of `discover`, and its flags."""
    command.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="show only that map or program: its name, its pin or a directory of pins, or the map's id",
    )
    command.add_argument(
        "--interface",
        action="append",
        metavar="IF",
        help="show only what is attached there; a pattern such as 'eth*'; repeatable",
    )
    command.add_argument(
        "--all",
        action="store_true",
        help="show also the XDP programs that are attached to no interface here, and all pinned maps",
    )
    command.add_argument(
        "--netns", action="append", metavar="NETNS", help="include that network namespace; repeatable"
    )
    command.add_argument(
        "--write-config",
        metavar="MAP",
        help="print a configuration for that map (pin, name or id), ready for --config",
    )
    command.add_argument(
        "--with-layout",
        action="store_true",
        help="include the map's layout in that configuration, to run without CAP_SYS_ADMIN, which BTF needs",
    )
    _add_json(command)
    add_log_flags(command)


def dump_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags of `dump`."""
    _add_sources(command)
    _add_json(command)
    add_log_flags(command)


def top_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags of `top`."""
    _add_sources(command)
    command.add_argument(
        "--interval",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="time between readings (default 1)",
    )
    command.add_argument(
        "--iterations", type=_count, metavar="N", help="stop after N readings (default: at `q` or Ctrl-C)"
    )
    add_log_flags(command)


def attach_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags of `attach`."""
    _add_interfaces(command)
    _add_direction(command)
    _add_packet_sizes(command)
    add_log_flags(command)


def detach_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags of `detach`."""
    _add_interfaces(command)
    add_log_flags(command)


def _add_interfaces(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--interface",
        action="append",
        required=True,
        metavar="IF",
        help="interface of the shipped program: a name, a pattern such as 'eth*', or auto; repeatable",
    )
    _add_exclude(command)
    _add_netns(command)


def completion_flags(command: argparse.ArgumentParser) -> None:
    """Declare the argument of `completion`, and its flags."""
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to complete in")
    add_log_flags(command)


class _Once(argparse.Action):
    """Refuse a flag that is given twice: the last one would silently apply to all interfaces."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        _flag: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise MisuseError(self, "given twice", "a configuration file can name one for each interface")
        setattr(namespace, self.dest, values)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_netns(to: argparse.ArgumentParser | _Group) -> None:
    to.add_argument("--netns", action=_Once, metavar="NETNS", help="network namespace of the interfaces")


def _add_exclude(to: argparse.ArgumentParser | _Group) -> None:
    to.add_argument(
        "--exclude-interface",
        action="append",
        metavar="PATTERN",
        help="interfaces that patterns and auto leave out; repeatable (XDP_OTEL_EXCLUDE_INTERFACE=A,B)",
    )


def _add_direction(to: argparse.ArgumentParser | _Group) -> None:
    to.add_argument(
        "--direction",
        action=_Once,
        choices=tuple(CHOICES),
        help="packets that the interfaces receive (default), transmit, or both (XDP_OTEL_DIRECTION)",
    )


def _add_packet_sizes(to: argparse.ArgumentParser | _Group) -> None:
    to.add_argument(
        "--packet-sizes",
        action="store_true",
        help="count the sizes of the interfaces' packets, as a histogram (XDP_OTEL_PACKET_SIZES=true)",
    )


def _add_sources(command: argparse.ArgumentParser) -> None:
    """Declare which maps to read and which metrics they yield: `config.source_specs` reads them."""
    group = command.add_argument_group("what to read (any number of sources)")
    group.add_argument(
        "--interface",
        action="append",
        metavar="IF",
        help="the map of the shipped program on that interface, to which `run` attaches it: a name, a "
        "pattern such as 'eth*', or auto for those with a default route",
    )
    _add_exclude(group)
    _add_netns(group)
    _add_direction(group)
    _add_packet_sizes(group)
    group.add_argument(
        "--map-path",
        action="append",
        type=Path,
        metavar="PIN",
        help="the map pinned at that path: needs the fewest rights, and follows a new map under the same "
        "pin; or all that match a pattern such as '/sys/fs/bpf/*/stats'",
    )
    group.add_argument(
        "--map-name",
        action="append",
        metavar="[IF:]NAME",
        help="the only map with that name, or that of the program on interface IF; or all that match a "
        "pattern (CAP_SYS_ADMIN)",
    )
    group.add_argument(
        "--map-id", action="append", type=_map_id, metavar="ID", help="the map with that id (CAP_SYS_ADMIN)"
    )
    group.add_argument(
        "--config",
        action="append",
        type=Path,
        metavar="FILE",
        help="YAML file that names maps and their metrics; `run` reads it again at SIGHUP "
        "(XDP_OTEL_CONFIG; docs/configuration.md)",
    )
    group.add_argument(
        "--profile",
        metavar="PROFILE",
        help="metrics of the maps named by flags: a built-in profile, or a YAML file",
    )
    group.add_argument(
        "--series-limit",
        type=_count,
        metavar="N",
        help="most series of a map; the rest is aggregated into one overflow series (default 100000)",
    )


def _add_delivery(command: argparse.ArgumentParser) -> None:
    """Declare where, how and how often to export."""
    group = command.add_argument_group("where to send it")
    service = command.add_argument_group("how to run")
    service.add_argument("--interval", metavar="SECONDS", help="time between cycles, e.g. 0.5 (default 10)")
    group.add_argument(
        "--otel-endpoint",
        metavar="HOST:PORT",
        help="OTLP/gRPC endpoint (default localhost:4317); prefix http:// for plaintext, https:// for TLS; "
        "none: export nothing, serve the counts on the status endpoint only",
    )
    for variable, text in OTLP_FLAGS.items():
        group.add_argument(
            flag_name(variable), metavar="VALUE", help=f"{text} (OTEL_EXPORTER_OTLP_METRICS_{variable})"
        )
    service.add_argument(
        "--state-dir",
        metavar="DIR",
        help="directory of the journal and the instance id (default /var/lib/xdp-otel; XDP_OTEL_STATE_DIR)",
    )
    group.add_argument(
        "--base-point",
        action="store_true",
        help="send each delta together with the sum before it: exact through restarts of the Collector that "
        "ships with xdp-otel; not for other backends (XDP_OTEL_BASE_POINT=true)",
    )
    service.add_argument(
        "--status-address",
        metavar="HOST:PORT",
        help="serve /healthz, /readyz and /metrics there (off by default; XDP_OTEL_STATUS_ADDRESS)",
    )
    service.add_argument(
        "--self-metrics",
        action="store_true",
        help="export the sidecar's own metrics too (XDP_OTEL_SELF_METRICS=true)",
    )
    service.add_argument(
        "--program-stats",
        action="store_true",
        help="count and time the runs of the programs whose maps are read (CAP_SYS_ADMIN; it slows down all "
        "BPF programs of this host a little; XDP_OTEL_PROGRAM_STATS=true)",
    )
    service.add_argument(
        "--once", action="store_true", help="run one cycle, wait for its acknowledgement, exit"
    )


def _map_id(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a map id")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 999999999")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time between 0.1 s and 86400 s")
    return number
