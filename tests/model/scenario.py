# SPDX-License-Identifier: Apache-2.0
"""What may happen in an exploration, and how much of it."""

from dataclasses import dataclass

from sidecar.delivery import Delivery
from sidecar.model import Temporality

# Ticks without faults at the end of every history, in which everything must be delivered.
CALM_TICKS = 2

# Events other than the responses to requests, between the sidecar's steps or during them.
KINDS = frozenset(
    {
        *("crash", "stop", "disk", "read", "wipe", "clock_back", "clock_forward", "idle"),
        *("reload", "idle_reload", "slow_reload", "roll_back", "empty", "reboot"),
        *("collector", "failover", "forget", "scrape", "scrape_inside"),
    }
)


@dataclass(frozen=True)
class Scenario:
    """
    What may happen, and how much of it.

    Attributes:
        temporality: How the sidecar sends.
        kinds: Which of `KINDS` may happen.
        responses: What may happen to a request other than being acknowledged.
        faults: Most faults in one history.
        ticks: Cycles in which faults may happen.
        sources: Number of maps.
        once: Whether each cycle is a process of its own, `--once`.
        growing: Whether each tick counts more packets than all before it, instead of fewer.
        durable_first: Whether it is a violation to send a batch that is not durable.
        delivery: The delivery rule.

    """

    temporality: Temporality
    kinds: frozenset[str]
    responses: tuple[str, ...]
    faults: int
    ticks: int
    sources: int = 1
    once: bool = False
    growing: bool = False
    durable_first: bool = True
    delivery: type[Delivery] = Delivery

    def __post_init__(self) -> None:
        assert self.kinds <= KINDS, f"unknown: {self.kinds - KINDS}"

    def packets(self, tick: int) -> int:
        """Each tick has a hexadecimal digit of its own, which shows what is missing or doubled."""
        last = self.ticks + CALM_TICKS
        return int(16 ** (tick if self.growing else last - tick))
