# SPDX-License-Identifier: Apache-2.0
"""Kills of the sidecar."""

from chaos.child import OF_A_NEW_FILE, STEPS
from chaos.stage import Stage

SIDES = ("before", "during", "after")


def sidecar_kill(stage: Stage) -> None:
    """Kill the sidecar with SIGKILL at random moments, including startup."""
    node = stage.node()
    kills = stage.times(50, 6)
    for _ in range(kills):
        stage.wait(0.0, 1.0)
        node.sidecar.kill()
        stage.wait(0.0, 0.1)
        node.sidecar.launch()
    stage.record(node, note=f"{kills} kills")


def kill_points(stage: Stage) -> None:
    """Kill the sidecar before, during and after each step of a cycle."""
    node = stage.node()
    stage.wait(1.0)
    points = [(step, side) for step in STEPS for side in SIDES]
    if stage.times(3) < 2:
        # A short run tries one side of each step.
        points = [(step, stage.chance.choice(SIDES)) for step in STEPS]
    stage.chance.shuffle(points)
    node.sidecar.kill()
    missed = []
    for step, side in points:
        count = 1 if step in OF_A_NEW_FILE else stage.chance.randint(1, 4)
        if not node.die_at(step, side, count, timeout_s=15):
            missed.append(f"{step} was not reached {count} times")
    node.sidecar.start()
    stage.record(node, note=f"died {len(points) - len(missed)} times", problems=missed)
