# SPDX-License-Identifier: Apache-2.0
"""The entry point of `xdp-otel discover`."""

import argparse
import logging
from collections.abc import Sequence

from sidecar.commands.discover import inventory, maps, report, scope
from sidecar.commands.discover.model import Inventory
from sidecar.commands.json_text import json_text
from sidecar.errors import ConfigError, RightsError, SourceError
from sidecar.kernel import netlink
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.interface import AUTO

log = logging.getLogger(__name__)

_INVISIBLE = "nothing visible with these rights"


def discover(flags: argparse.Namespace) -> int:
    """
    Print what was found, or a configuration for one of the maps.

    Raises:
        RightsError: Nothing is visible with these rights, which does not mean that there is nothing.
        SidecarError: What the user named does not exist, or listing failed.

    """
    _refuse_combinations(flags)
    collected = inventory.collect(flags.netns or ())
    if flags.write_config is not None:
        from sidecar.commands.discover import write_config  # noqa: PLC0415  # not imported for the other outputs

        print(write_config.for_map(collected, flags.write_config, with_layout=flags.with_layout), end="")
        _log_notes(collected)
        return 0
    shown = _shown(collected, flags)
    error = _invisible("list XDP programs and their maps") if shown.is_limited and not shown.maps else None
    if flags.json:
        print(json_text(report.as_json(shown, collected, str(error) if error else None), indent=2))
    else:
        for line in report.lines(shown, collected):
            print(line)
    if error:
        raise error
    if not flags.json:
        _log_notes(shown)
    return 0


def _refuse_combinations(flags: argparse.Namespace) -> None:
    if flags.with_layout and flags.write_config is None:
        raise ConfigError("use --with-layout", "it needs --write-config", "name the map there")
    chosen = {
        "NAME": flags.name is not None,
        "--all": flags.all,
        "--interface": bool(flags.interface),
        "--write-config": flags.write_config is not None,
    }
    names = [name for name, is_given in chosen.items() if is_given]
    if len(names) > 1:
        raise ConfigError(f"use {names[0]} and {names[1]}", "each chooses what to show", "give one of them")


def _shown(collected: Inventory, flags: argparse.Namespace) -> Inventory:
    if flags.all:
        return collected
    if flags.name is None:
        return scope.attached(collected, _patterns(flags.interface or ()))
    try:
        return scope.named(collected, flags.name, maps.every)
    except SourceError:
        if collected.is_limited:
            raise _invisible(f"find {flags.name}") from None
        raise


def _patterns(names: Sequence[str]) -> Sequence[str]:
    """Return the names and patterns, with the interfaces that carry a default route in place of `auto`."""
    if AUTO not in names:
        return names
    routed = netlink.default_routes()
    found = [link.name for link in netlink.links() if link.ifindex in routed]
    return [*(name for name in names if name != AUTO), *(found or [AUTO])]


def _invisible(what: str) -> RightsError:
    how = f"{remedy(Capability.SYS_ADMIN)}; or get read permission on a pin (docs/rights.md)"
    return RightsError(what, _INVISIBLE, how)


def _log_notes(collected: Inventory) -> None:
    for note in collected.notes:
        log.warning("%s", note)
