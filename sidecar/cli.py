# SPDX-License-Identifier: Apache-2.0
"""The command `xdp-otel`, and the one place where errors become exit codes."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sidecar import __version__, xdp
from sidecar.config import OTLP_FLAGS, config_from, interfaces_from
from sidecar.errors import SidecarError

log = logging.getLogger("sidecar")

_EPILOG = """\
examples:
  xdp-otel --interface eth0                       count on eth0 and send to localhost:4317
  xdp-otel --interface eth0 --interface eth1 --otel-endpoint http://collector:4317
  xdp-otel --map-name stats_map --interval 5      read the map of your own program
  xdp-otel --map-path /sys/fs/bpf/stats_map --once
  xdp-otel attach --interface eth0                count now, send later
  xdp-otel detach --interface eth0                stop counting, remove the pins

exit codes:
  0 done              2 usage             3 map or interface not found, ambiguous, or of another shape
  4 a right is missing                    5 the kernel refused        6 state directory
  7 not acknowledged (--once)            70 a bug, with a traceback
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    flags = parser.parse_args(_with_default_command(arguments))
    _set_up_logging(debug=flags.debug)
    try:
        return int(flags.command(flags))
    except SidecarError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:
        log.exception("this is a bug")
        return 70


def _with_default_command(arguments: list[str]) -> list[str]:
    named = arguments[:1] and arguments[0] in ("run", "attach", "detach", "-h", "--help", "--version")
    return arguments if named else ["run", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xdp-otel",
        description="Read packet counters from BPF maps and push them, exact, as OTLP delta sums.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xdp-otel {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    for name, function, text in (
        ("attach", _attach, "attach the shipped program to interfaces and leave it counting"),
        ("detach", _detach, "detach it and remove its pins and its map"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text.capitalize()}.",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_interface(command, required=True)
        command.set_defaults(command=function)
    return parser


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "run",
        help="read and send until SIGTERM (the default command)",
        description="Read the maps in cycles and send what they counted.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_interface(run, required=False)
    run.add_argument("--map-path", type=Path, metavar="PIN", help="read the map pinned there")
    run.add_argument("--map-name", metavar="NAME", help="read the one map of that name (CAP_SYS_ADMIN)")
    run.add_argument("--map-id", type=_map_id, metavar="ID", help="read the map with that id (CAP_SYS_ADMIN)")
    run.add_argument("--interval", metavar="SECONDS", help="time between cycles, e.g. 0.5 (default 10)")
    run.add_argument(
        "--otel-endpoint",
        metavar="HOST:PORT",
        help="OTLP/gRPC endpoint (default localhost:4317); http:// or https:// before it decides over TLS; "
        "none: send nothing, the counts are on the status endpoint",
    )
    for variable, text in OTLP_FLAGS.items():
        flag = f"--otel-{variable.lower().replace('_', '-')}"
        run.add_argument(flag, metavar="VALUE", help=f"{text} (OTEL_EXPORTER_OTLP_METRICS_{variable})")
    run.add_argument(
        "--state-dir",
        metavar="DIR",
        help="journal and instance id (default /var/lib/xdp-otel; XDP_OTEL_STATE_DIR)",
    )
    run.add_argument(
        "--base-point",
        action="store_true",
        help="send with each delta what came before it: exact through restarts of the Collector that ships "
        "with xdp-otel; not for other backends (XDP_OTEL_BASE_POINT=true)",
    )
    run.add_argument(
        "--status-address",
        metavar="HOST:PORT",
        help="serve /healthz, /readyz and /metrics there (off by default; XDP_OTEL_STATUS_ADDRESS)",
    )
    run.add_argument(
        "--self-metrics",
        action="store_true",
        help="send the sidecar's own metrics as well (XDP_OTEL_SELF_METRICS=true)",
    )
    run.add_argument("--once", action="store_true", help="make one cycle, have it acknowledged, and exit")
    run.set_defaults(command=_run)


def _add_interface(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument(
        "--interface",
        action="append",
        required=required,
        metavar="IF",
        help="attach the shipped program there and read its map; repeatable",
    )
    command.add_argument("--netns", metavar="NAME|PATH", help="network namespace that the interfaces are in")
    command.add_argument("--debug", action="store_true", help="log more")


def _map_id(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a map id")
    return int(text)


def _set_up_logging(*, debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )


def _attach(flags: argparse.Namespace) -> int:
    for interface in interfaces_from(flags):
        xdp.attach(interface)
        log.info("%s is counted; read it with `xdp-otel --interface %s`", interface, interface.name)
    return 0


def _detach(flags: argparse.Namespace) -> int:
    for interface in interfaces_from(flags):
        done = xdp.detach(interface)
        log.info("%s: %s", interface, "detached, pins removed" if done else "was not attached by xdp-otel")
    return 0


def _run(flags: argparse.Namespace) -> int:
    config = config_from(flags, os.environ)
    # gRPC and the OTLP classes are most of the memory and of the start: only this command pays for them.
    from sidecar.run import run  # noqa: PLC0415

    run(config)
    return 0
