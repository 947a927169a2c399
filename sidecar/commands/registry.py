# SPDX-License-Identifier: Apache-2.0
"""
The commands: what each is called, its flags and its examples.

What a command needs is imported when it is called: gRPC and the OTLP classes are most of the memory and of
the start, and only `run` and `check` pay for them.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from sidecar import __version__
from sidecar.commands import flags as add
from sidecar.errors import printable

EXAMPLES = """\
  xdp-otel --interface eth0                       count on eth0 and send to localhost:4317
  xdp-otel discover                               which XDP programs and maps there are
  xdp-otel check --map-path /sys/fs/bpf/flows     would it work? one reading, and the Collector's answer
  xdp-otel dump --map-path /sys/fs/bpf/flows      what the map holds now
  xdp-otel top --map-path /sys/fs/bpf/flows       its rates, live
  xdp-otel COMMAND --help                         more examples"""

_EXIT_CODES = """\
  0 done              2 usage             3 map or interface not found, ambiguous, or of another shape
  4 a right is missing                    5 the kernel refused        6 state directory
  7 not acknowledged (--once, check)     70 a bug, with a traceback"""


def epilog(examples: str) -> str:
    """Return the end of a help text."""
    return f"examples:\n{examples}\n\nexit codes:\n{_EXIT_CODES}\n"


@dataclass(frozen=True)
class Command:
    """
    One command.

    Attributes:
        name: As it is typed.
        help: One line, for the list of commands.
        examples: Lines of the help.
        add_flags: Declares its flags.
        function: Does it, and returns the exit code.
        logs_time: Whether each line of its log begins with the time.

    """

    name: str
    help: str
    examples: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    function: Callable[[argparse.Namespace], int]
    logs_time: bool = False

    @property
    def description(self) -> str:
        """The help as a sentence."""
        return f"{self.help[0].upper()}{self.help[1:]}."


def _later(name: str, *, module: str = "") -> Callable[[argparse.Namespace], int]:
    """Return the function *name* of `sidecar.commands.<module>`, which is imported when it is called."""

    def call(flags: argparse.Namespace) -> int:
        function: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"sidecar.commands.{module or name}"), name
        )
        return function(flags)

    return call


def _run_flags(command: argparse.ArgumentParser) -> None:
    add.add_sources(command)
    add.add_delivery(command)
    add.add_debug(command)


def _run(flags: argparse.Namespace) -> int:
    from sidecar.config import config_from  # noqa: PLC0415

    config = config_from(flags, os.environ)
    from sidecar.run import run  # noqa: PLC0415

    run(config)
    return 0


def _attach_flags(command: argparse.ArgumentParser) -> None:
    add.add_interface(command, required=True)
    add.add_debug(command)


def _discover_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--netns", action="append", metavar="NETNS", help="look into that network namespace too; repeatable"
    )
    command.add_argument(
        "--write-config",
        metavar="MAP",
        help="print a configuration for that map (pin, name or id), ready for --config",
    )
    command.add_argument(
        "--with-layout",
        action="store_true",
        help="say the map's layout in that configuration: to run without CAP_SYS_ADMIN, which BTF needs",
    )
    add.add_json(command)
    add.add_debug(command)


def _check_flags(command: argparse.ArgumentParser) -> None:
    _run_flags(command)
    command.add_argument(
        "--no-endpoint", action="store_true", help="leave the Collector out: it may not be up yet"
    )


def _dump_flags(command: argparse.ArgumentParser) -> None:
    add.add_sources(command)
    add.add_json(command)
    add.add_debug(command)


def _top_flags(command: argparse.ArgumentParser) -> None:
    add.add_sources(command)
    command.add_argument(
        "--interval",
        type=add.seconds,
        default=1.0,
        metavar="SECONDS",
        help="between readings (default 1)",
    )
    command.add_argument(
        "--iterations", type=add.iterations, metavar="N", help="end after N rounds (default: at Ctrl-C)"
    )
    add.add_debug(command)


def _completion_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that will read it")
    add.add_debug(command)


def _completion(flags: argparse.Namespace) -> int:
    from sidecar.commands.completion import script  # noqa: PLC0415

    print(script(parser(), flags.shell), end="")
    return 0


COMMANDS = (
    Command(
        "run",
        "read and send until SIGTERM (the default command)",
        """\
  xdp-otel --interface eth0                       count on eth0 and send to localhost:4317
  xdp-otel --interface eth0 --interface eth1 --otel-endpoint http://collector:4317
  xdp-otel --map-path /sys/fs/bpf/flows           read the map of your own program
  xdp-otel --map-name stats_map --interval 5      find it by its name
  xdp-otel --config flows.yaml --once             one cycle of what the file names""",
        _run_flags,
        _run,
        logs_time=True,
    ),
    Command(
        "discover",
        "show XDP programs by interface and their maps, and how to read them",
        """\
  xdp-otel discover
  xdp-otel discover --netns blue                  and in the network namespace blue
  xdp-otel discover --json | jq '.maps[].name'
  xdp-otel discover --write-config /sys/fs/bpf/flows > flows.yaml""",
        _discover_flags,
        _later("discover", module="discover.command"),
    ),
    Command(
        "check",
        "say whether `run` with the same flags would work, or the first thing to mend",
        """\
  xdp-otel check --config flows.yaml
  xdp-otel check --map-path /sys/fs/bpf/flows --otel-endpoint collector:4317
  xdp-otel check --interface eth0 --no-endpoint   before the Collector is up""",
        _check_flags,
        _later("check"),
    ),
    Command(
        "dump",
        "print what the maps hold now, decoded",
        """\
  xdp-otel dump --map-path /sys/fs/bpf/flows
  xdp-otel dump --config flows.yaml --json | jq '.[] | select(.fields.drops > 0)'""",
        _dump_flags,
        _later("dump"),
    ),
    Command(
        "top",
        "show live rates per second, the highest first",
        """\
  xdp-otel top --interface eth0
  xdp-otel top --map-path /sys/fs/bpf/flows --interval 5
  xdp-otel top --config flows.yaml --iterations 3 > rates.txt""",
        _top_flags,
        _later("top"),
    ),
    Command(
        "attach",
        "attach the shipped program to interfaces and leave it counting",
        """\
  xdp-otel attach --interface eth0                count now, send later
  xdp-otel attach --interface lo --netns blue""",
        _attach_flags,
        _later("attach"),
        logs_time=True,
    ),
    Command(
        "detach",
        "detach it and remove its pins and its map",
        """\
  xdp-otel detach --interface eth0                stop counting""",
        _attach_flags,
        _later("detach", module="attach"),
        logs_time=True,
    ),
    Command(
        "completion",
        "print a completion script for a shell",
        """\
  xdp-otel completion bash > /etc/bash_completion.d/xdp-otel
  xdp-otel completion zsh > "${fpath[1]}/_xdp-otel"
  xdp-otel completion fish > ~/.config/fish/completions/xdp-otel.fish""",
        _completion_flags,
        _completion,
    ),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = _Parser(
        prog="xdp-otel",
        description="Read packet counters from BPF maps and push them, exact, as OTLP delta sums.",
        epilog=epilog(EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"xdp-otel {__version__}")
    subparsers = root.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=epilog(command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_flags(sub)
        sub.set_defaults(command=command.function, logs_time=command.logs_time)
    return root
