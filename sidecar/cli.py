# SPDX-License-Identifier: Apache-2.0
"""The command `xdp-otel`; the only place where errors become exit codes."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from sidecar.commands import log_flags, registry
from sidecar.commands.usage import UsageError
from sidecar.errors import ConfigError, SidecarError, is_text, machine_error
from sidecar.kernel import limits, standard_streams
from sidecar.observe.log_formats import JsonLine, OneLine
from sidecar.observe.log_handler import LogHandler

log = logging.getLogger("sidecar")

# The exit code that a shell reports for a program killed by SIGPIPE, as in `xdp-otel dump | head`.
_BROKEN_PIPE = 128 + signal.SIGPIPE
# Of a configuration file: fixing so many takes another run anyway.
_MOST_ERRORS = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    standard_streams.prepare()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        # Not success: a unit or a container that lost its arguments must not look healthy.
        sys.stderr.write(registry.short_help())
        return ConfigError.exit_code
    as_json = log_flags.is_json(arguments, os.environ)
    try:
        flags = registry.parser().parse_args(_with_default_command(arguments))
        _set_up_logging(flags, as_json=as_json)
        _refuse_undecodable(arguments, os.environ)
        log_flags.check(os.environ)
        limits.raise_open_files()
        code = int(flags.command(flags))
        sys.stdout.flush()
    except UsageError as error:
        return _refuse(error, as_json=as_json)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # errors become exit codes here
        return _failed(error)
    return code


def _failed(error: BaseException) -> int:
    """Log *error*; return its exit code."""
    if isinstance(error, SidecarError):
        for one in error.each[:_MOST_ERRORS]:
            log.error("%s", one)
        if len(error.each) > _MOST_ERRORS:
            log.error("and %d more errors", len(error.each) - _MOST_ERRORS)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError):
        standard_streams.drop_output()
        return _BROKEN_PIPE
    if found := machine_error(error):
        log.error("%s", found)
        standard_streams.drop_output()
        return found.exit_code
    log.error("this is a bug", exc_info=error)
    return SidecarError.exit_code


def _refuse_undecodable(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise ConfigError unless all is UTF-8, the only encoding of OTLP, gRPC and YAML."""
    # The text is not shown: it may be the secret in a header.
    for number, text in enumerate(arguments, 1):
        if not is_text(text):
            raise ConfigError(f"use argument {number}", "it is not UTF-8", "write it in UTF-8")
    for name, text in environ.items():
        if name.startswith(("OTEL_", "XDP_OTEL_")) and not is_text(text):
            raise ConfigError(f"use {name}", "it is not UTF-8", "set it in UTF-8")


def _with_default_command(arguments: list[str]) -> list[str]:
    """Put `run` before bare flags; the parser refuses a first word that is no command."""
    named = arguments[:1] and (
        not arguments[0].startswith("-") or arguments[0] in ("-h", "--help", "--version")
    )
    return arguments if named else ["run", *arguments]


def _refuse(error: UsageError, *, as_json: bool) -> int:
    """Say what is wrong with the command line, of which no format of the log is known but JSON."""
    if as_json:
        _log_to_stderr(JsonLine(), logging.INFO)
        log.error("%s", error)
    else:
        sys.stderr.write(f"{error}\n")
    return ConfigError.exit_code


def _set_up_logging(flags: argparse.Namespace, *, as_json: bool) -> None:
    # A service's lines begin with the time, unless systemd's journal adds it; a user's command needs none.
    time = "%(asctime)s " if flags.logs_time and "JOURNAL_STREAM" not in os.environ else ""
    formatter = JsonLine() if as_json else OneLine(f"{time}%(levelname)s %(message)s")
    _log_to_stderr(formatter, log_flags.level(flags, os.environ))


def _log_to_stderr(formatter: logging.Formatter, level: int) -> None:
    # No line shows these (logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = LogHandler(sys.stderr.encoding or "utf-8")
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level)
