# SPDX-License-Identifier: Apache-2.0
"""How much is logged, and in which format: flags of every command, then variables."""

import argparse
import logging
from collections.abc import Mapping, Sequence

from sidecar.errors import ConfigError

LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
FORMATS = ("text", "json")
_LEVEL, _FORMAT = "XDP_OTEL_LOG_LEVEL", "XDP_OTEL_LOG_FORMAT"


def add_log_flags(command: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    command.add_argument(
        "--log-level", choices=tuple(LEVELS), help=f"what to log (default info; {_LEVEL}); debug: each cycle"
    )
    command.add_argument(
        "--log-format", choices=FORMATS, help=f"json: one object per line (default text; {_FORMAT})"
    )
    command.add_argument("--debug", action="store_true", help="the same as --log-level debug")


def level(flags: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Return the level of `logging`: a flag's, the variable's unless `check` would refuse it, or info."""
    name = flags.log_level or ("debug" if flags.debug else environ.get(_LEVEL, ""))
    return LEVELS.get(name, logging.INFO)


def is_json(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return whether to log JSON: from the arguments as they stand, for errors in them are logged too."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--log-format", nargs="?")
    given = early.parse_known_args(arguments)[0].log_format
    return (given or environ.get(_FORMAT)) == "json"


def check(environ: Mapping[str, str]) -> None:
    """Raise ConfigError if a variable has no meaning."""
    for name, known in ((_LEVEL, tuple(LEVELS)), (_FORMAT, FORMATS)):
        text = environ.get(name)
        if text and text not in known:
            raise ConfigError(f"use {name}={text!r}", "unknown", f"set it to {', '.join(known)}")
