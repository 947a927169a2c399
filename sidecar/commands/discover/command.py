# SPDX-License-Identifier: Apache-2.0
"""The entry point of `xdp-otel discover`."""

import argparse
import logging

from sidecar.commands.discover import inventory, report
from sidecar.commands.json_text import json_text
from sidecar.errors import ConfigError

log = logging.getLogger(__name__)


def discover(flags: argparse.Namespace) -> int:
    """Print the inventory, or a configuration for one of its maps; raise SidecarError if that fails."""
    if flags.with_layout and flags.write_config is None:
        raise ConfigError("use --with-layout", "it needs --write-config", "name the map there")
    collected = inventory.collect(flags.netns or ())
    if flags.write_config is not None:
        from sidecar.commands.discover import write_config  # noqa: PLC0415  # not imported for the other outputs

        print(write_config.for_map(collected, flags.write_config, with_layout=flags.with_layout), end="")
    elif flags.json:
        print(json_text(report.as_json(collected), indent=2))
        return 0
    else:
        for line in report.lines(collected):
            print(line)
    for note in collected.notes:
        log.warning("%s", note)
    return 0
