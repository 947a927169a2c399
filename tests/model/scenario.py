# SPDX-License-Identifier: Apache-2.0
"""What may happen in an exploration, and how much of it."""

from dataclasses import dataclass

from sidecar.delivery import Delivery
from sidecar.model import Temporality

# Ticks without faults at the end of every history, in which all that is under way must arrive.
CALM_TICKS = 2

# What may happen beside what becomes of a request: between the sidecar's steps, or at them.
KINDS = frozenset(
    {
        *("crash", "stop", "disk", "read", "wipe", "clock_back", "clock_forward", "quiet"),
        *("reload", "quiet_reload", "slow_reload", "roll_back", "empty", "reboot"),
        *("collector", "failover", "forget", "scrape", "scrape_inside"),
    }
)


@dataclass(frozen=True)
class Scenario:
    """
    What may happen, and how much of it.

    Attributes:
        temporality: How the sidecar sends.
        kinds: What may happen, of `KINDS`.
        answers: What may become of a request, beside being answered.
        faults: How many faults one history may have.
        ticks: How many cycles may have faults.
        sources: How many maps are read.
        once: Each cycle is a process of its own, `--once`.
        growing: Each tick counts more packets than all before it, instead of fewer.
        durable_first: It is wrong to send what is not durable.
        delivery: The delivery rule.

    """

    temporality: Temporality
    kinds: frozenset[str]
    answers: tuple[str, ...]
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
        """Each tick has a hexadecimal digit of its own: what is missing or doubled can be read off."""
        last = self.ticks + CALM_TICKS
        return int(16 ** (tick if self.growing else last - tick))
