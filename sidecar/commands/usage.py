# SPDX-License-Identifier: Apache-2.0
"""A command-line parser whose errors are one line, with the nearest name, and whose usage is short."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from sidecar.errors import printable
from sidecar.suggest import nearest, suggest

# Dashes that word processors and web pages put in place of hyphens.
_DASHES = "-\u2010\u2011\u2013\u2014"


class UsageError(Exception):
    """A command line that is refused; the text is the whole line that says why."""


class MisuseError(argparse.ArgumentError):
    """An argument that is refused with a remedy of its own."""

    def __init__(self, argument: argparse.Action, cause: str, remedy: str) -> None:
        super().__init__(argument, cause)
        self.remedy = remedy


class Parser(argparse.ArgumentParser):
    """Raises UsageError in one line, `xdp-otel run: cannot use <what>: <cause>: <remedy>`."""

    def __init__(self, **settings: Any) -> None:
        """Take the keywords of `argparse.ArgumentParser`."""
        # Not abbreviations: a flag of the next version could make one ambiguous.
        super().__init__(
            **settings,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            exit_on_error=False,
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Return the flags, and no arguments: the command refuses those that it does not know."""
        try:
            flags, unknown = super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            self._refuse(error)
        if unknown:
            self._refuse_unknown(next((word for word in unknown if word.startswith("-")), unknown[0]))
        return flags, []

    def error(self, message: str) -> NoReturn:
        """Refuse what argparse reports about no particular argument: one that is missing."""
        self._raise("run", message, self._see_help())

    def set_short_usage(self) -> None:
        """Show the positional arguments and that there are flags; the help lists them."""
        words = [
            f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar or action.dest)
            for action in self._actions
            if not action.option_strings
        ]
        self.usage = " ".join(["%(prog)s", *words, "[flags]"])

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            raise MisuseError(action, f"{value!r} is unknown", suggest(str(value), map(str, action.choices)))

    def _refuse(self, error: argparse.ArgumentError) -> NoReturn:
        if error.argument_name is None:
            self.error(error.message)
        flag = error.argument_name.rpartition("/")[2]
        if isinstance(error, MisuseError):
            remedy = error.remedy
        else:
            metavar = next((one.metavar for one in self._actions if flag in one.option_strings), None)
            remedy = f"write {flag} {metavar}" if metavar else self._see_help()
        self._raise(f"use {flag}", error.message, remedy)

    def _refuse_unknown(self, word: str) -> NoReturn:
        name = word.partition("=")[0]
        flags = {flag.lstrip("-"): flag for action in self._actions for flag in action.option_strings}
        close = nearest(name.lstrip(_DASHES), flags)
        remedy = f"did you mean {flags[close]}?" if close else self._see_help()
        if word.startswith("-"):
            self._raise(f"use {name}", "unknown flag", remedy)
        self._raise(f"use {word!r}", "it belongs to no flag", remedy)

    def _see_help(self) -> str:
        return f"`{self.prog} --help` shows how"

    def _raise(self, what: str, cause: str, remedy: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {printable(f'cannot {what}: {cause}: {remedy}')}")
