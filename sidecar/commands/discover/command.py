# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel discover`: which XDP programs and maps there are, and how to read them."""

import argparse
import logging

from sidecar.commands.discover import inventory, report
from sidecar.commands.json_text import json_text
from sidecar.errors import ConfigError

log = logging.getLogger(__name__)


def discover(flags: argparse.Namespace) -> int:
    """Print what there is, or a configuration for one map of it; raise SidecarError if that cannot be had."""
    if flags.with_layout and flags.write_config is None:
        raise ConfigError("use --with-layout", "it goes with --write-config", "name the map there")
    found = inventory.take(flags.netns or ())
    if flags.write_config is not None:
        from sidecar.commands.discover import write_config  # noqa: PLC0415  # only who asks for it pays

        print(write_config.for_map(found, flags.write_config, with_layout=flags.with_layout), end="")
    elif flags.json:
        print(json_text(report.as_json(found), indent=2))
        return 0
    else:
        for line in report.lines(found):
            print(line)
    for note in found.notes:
        log.warning("%s", note)
    return 0
