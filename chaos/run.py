# SPDX-License-Identifier: Apache-2.0
"""Play a scenario and return its rows of the ledger."""

from collections.abc import Sequence
from pathlib import Path

from chaos.counters import ZERO
from chaos.ledger import Row
from chaos.scenarios import SCENARIOS
from chaos.stage import staged
from demo.errors import DemoError

FULL_S = 840.0
"""Approximate duration of all scenarios at full length, seconds."""


def play(name: str, directory: Path, *, seed: int, seconds: float = FULL_S) -> Sequence[Row]:
    """
    Play the scenario *name*, scaled to a run of all in *seconds*; its files go to *directory*/*name*.

    A scenario that fails yields a row with that problem.
    """
    rows: list[Row] = []
    try:
        with staged(name, directory / name, seed=seed, scale=seconds / FULL_S) as stage:
            rows = stage.rows
            SCENARIOS[name](stage)
    except DemoError as error:
        rows.append(Row(name, ZERO, ZERO, "nothing", problems=[f"could not go on: {error}"]))
    if not rows:
        rows.append(Row(name, ZERO, ZERO, "nothing", problems=["nothing was compared"]))
    return rows
