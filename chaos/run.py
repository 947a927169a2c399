# SPDX-License-Identifier: Apache-2.0
"""Play one scenario and return what it wrote into the ledger."""

from collections.abc import Sequence
from pathlib import Path

from chaos.counters import ZERO
from chaos.ledger import Row
from chaos.scenarios import SCENARIOS
from chaos.stage import staged
from demo.errors import DemoError

FULL_S = 840.0
"""About how many seconds all scenarios take together at their full length."""


def play(name: str, directory: Path, *, seed: int, seconds: float = FULL_S) -> Sequence[Row]:
    """
    Play the scenario *name* as long as it is in a run of *seconds*; its files go to *directory*/*name*.

    One that cannot go on has a row that says so.
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
