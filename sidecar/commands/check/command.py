# SPDX-License-Identifier: Apache-2.0
"""
The entry point of `xdp-otel check`.

It attaches nothing, exports nothing and leaves nothing behind: the request to the Collector is empty.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from sidecar.commands.check import collector, machine
from sidecar.commands.check.rows import Rows
from sidecar.commands.check.sources import check_sources
from sidecar.config import Config, config_from
from sidecar.errors import placed
from sidecar.observe import listener
from sidecar.sources.program_stats import ProgramStats
from sidecar.state import rehearsal
from sidecar.state.journal import journal_name


def check(flags: argparse.Namespace) -> int:
    """Print a line for each thing that `run` needs; then raise the SidecarError of the first that failed."""
    config = config_from(flags, os.environ)
    rows = Rows()
    if config.warnings:
        rows.warned("environment", *config.warnings)
    with ExitStack() as stack:
        sources, to_attach = check_sources(config.sources, rows, stack)
        machine.check_features(sources, to_attach, rows)
    rows.step(f"state directory {config.state_dir}", lambda: _rehearse(config))
    if config.status:
        host, port = config.status
        rows.step(f"status endpoint {host}:{port}", lambda: _listen(host, port))
    if config.program_stats:
        rows.step("program statistics", _try_statistics)
    if flags.no_endpoint:
        rows.ok(f"Collector {config.endpoint.target}", "not contacted (--no-endpoint)")
    else:
        collector.check_collector(config.endpoint, rows)
    if rows.first_error:
        sys.stdout.flush()  # the log's line is the last one, also in a pipe that takes both
        raise rows.first_error
    print("OK")
    return 0


def _listen(host: str, port: int) -> Iterator[str]:
    listener.listen(host, port).close()
    yield "free"


def _try_statistics() -> Iterator[str]:
    ProgramStats(dict).close()
    yield "can be turned on, and are off again"


def _rehearse(config: Config) -> list[str]:
    with placed(config.state_dir_variable):
        return [rehearsal.rehearse(config.state_dir, journal_name(sends=config.sends))]
