# SPDX-License-Identifier: Apache-2.0
"""
The table of commands, and the parser built from it.

A command's module is imported when the command is called: gRPC and the OTLP classes take most of the memory
and of the start-up time, and only `run` and `check` need them.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from sidecar import __version__
from sidecar.commands.flags import (
    attach_flags,
    check_flags,
    completion_flags,
    detach_flags,
    discover_flags,
    dump_flags,
    run_flags,
    top_flags,
)
from sidecar.commands.usage import Parser

_EXAMPLES = """\
  xdp-otel discover                             list XDP programs and maps
  xdp-otel check --map-path /sys/fs/bpf/flows   try it, and send nothing
  xdp-otel --interface eth0                     count on eth0, and export
  xdp-otel top --map-path /sys/fs/bpf/flows     show its rates, live
  xdp-otel dump --map-path /sys/fs/bpf/flows    print what the map holds now
  xdp-otel COMMAND --help                       more examples"""

_FIRST_STEPS = """\
  xdp-otel discover                  what is there to count?
  xdp-otel check --interface eth0    would it work?
  xdp-otel --interface eth0          count on eth0, export to localhost:4317
  xdp-otel COMMAND --help            the flags of a command, and examples"""

_EXIT_CODES = """\
   0 done
   2 usage or configuration
   3 map or interface not found, ambiguous, held, or of another shape
   4 a right is missing
   5 the kernel refused
   6 state directory
   7 not acknowledged (--once, check)
   8 status address in use, or not on this machine
  70 a bug, with a traceback"""


def _epilog(examples: str) -> str:
    return f"examples:\n{examples}\n\nexit codes:\n{_EXIT_CODES}\n"


@dataclass(frozen=True)
class Command:
    """
    A command.

    Attributes:
        name: The word that the user types.
        help: One line for the list of commands, without a full stop.
        examples: The example lines of its help text.
        add_flags: Declares its flags on a parser.
        function: Runs it and returns the exit code; raises SidecarError.
        logs_time: Whether its log lines begin with the time, as a service's do.

    """

    name: str
    help: str
    examples: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    function: Callable[[argparse.Namespace], int]
    logs_time: bool = False

    @property
    def description(self) -> str:
        """The one-line help as a sentence."""
        return f"{self.help[0].upper()}{self.help[1:]}."


def _later(name: str, *, module: str = "") -> Callable[[argparse.Namespace], int]:
    """Return a function that imports *name* from `sidecar.commands.<module or name>` and calls it."""

    def call(flags: argparse.Namespace) -> int:
        function: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"sidecar.commands.{module or name}"), name
        )
        return function(flags)

    return call


def _run(flags: argparse.Namespace) -> int:
    from sidecar.config import config_from, source_specs  # noqa: PLC0415

    config = config_from(flags, os.environ)
    from sidecar.run import run  # noqa: PLC0415

    run(config, reread=lambda: source_specs(flags))
    return 0


def _completion(flags: argparse.Namespace) -> int:
    from sidecar.commands.completion import script  # noqa: PLC0415

    print(script(parser(), flags.shell), end="")
    return 0


COMMANDS = (
    Command(
        "discover",
        "list XDP and TCX programs by interface, their maps, and how to read them",
        """\
  xdp-otel discover                               what is attached to interfaces
  xdp-otel discover --interface 'eth*'
  xdp-otel discover flows                         one map or program
  xdp-otel discover --all                         all pinned maps too
  xdp-otel discover --netns blue                  another namespace too
  xdp-otel discover --json | jq '.maps[].name'
  xdp-otel discover --write-config /sys/fs/bpf/flows > flows.yaml""",
        discover_flags,
        _later("discover", module="discover.command"),
    ),
    Command(
        "check",
        "report on each thing that `run` would need with the same flags",
        """\
  xdp-otel check --config flows.yaml
  xdp-otel check --map-path /sys/fs/bpf/flows --otel-endpoint collector:4317
  xdp-otel check --interface eth0 --no-endpoint   before the Collector is up""",
        check_flags,
        _later("check", module="check.command"),
    ),
    Command(
        "run",
        "read maps and export until SIGTERM (the default command)",
        """\
  xdp-otel --interface eth0                    export to localhost:4317
  xdp-otel --interface eth0 --otel-endpoint http://collector:4317
  xdp-otel --interface eth0 --direction both   what it transmits, too
  xdp-otel --map-path /sys/fs/bpf/flows        read the map of your own program
  xdp-otel --map-name stats_map --interval 5   find the map by name
  xdp-otel --config flows.yaml --once          one cycle of the file's sources""",
        run_flags,
        _run,
        logs_time=True,
    ),
    Command(
        "top",
        "show live rates per second, highest first",
        """\
  xdp-otel top --interface eth0
  xdp-otel top --map-path /sys/fs/bpf/flows --interval 5
  xdp-otel top --config flows.yaml --iterations 3 > rates.txt

keys:
  q quit      r, t, k order by rate, total, key      f order by the next field
  / filter by text such as `sport=443`               Esc clear the filter""",
        top_flags,
        _later("top"),
    ),
    Command(
        "dump",
        "print the current contents of maps, decoded",
        """\
  xdp-otel dump --map-path /sys/fs/bpf/flows
  xdp-otel dump --config flows.yaml --json | jq '.[].fields.drops'""",
        dump_flags,
        _later("dump"),
    ),
    Command(
        "attach",
        "attach the shipped program to interfaces and leave it counting",
        """\
  xdp-otel attach --interface eth0                count now, export later
  xdp-otel attach --interface eth0 --direction both
  xdp-otel attach --interface lo --netns blue""",
        attach_flags,
        _later("attach"),
        logs_time=True,
    ),
    Command(
        "detach",
        "detach the shipped program, remove its pins and its map",
        """\
  xdp-otel detach --interface eth0                stop, in both directions""",
        detach_flags,
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
        completion_flags,
        _completion,
    ),
)


def short_help() -> str:
    """Return what a user needs who knows nothing yet: the commands in order, and how to begin."""
    root = parser()
    root.epilog = f"to begin:\n{_FIRST_STEPS}"
    return root.format_help()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = Parser(
        prog="xdp-otel",
        usage="%(prog)s COMMAND [flags]",
        description="Read packet counters from BPF maps and push them, exact, as OTLP delta sums.",
        epilog=_epilog(_EXAMPLES),
    )
    root.add_argument("--version", action="version", version=f"xdp-otel {__version__}")
    subparsers = root.add_subparsers(title="commands", prog=root.prog, metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=_epilog(command.examples),
        )
        command.add_flags(sub)
        sub.set_short_usage()
        sub.set_defaults(command=command.function, logs_time=command.logs_time)
    return root
