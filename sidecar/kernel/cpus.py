# SPDX-License-Identifier: Apache-2.0
"""The possible CPUs, and the slots that they have in a per-CPU value."""

from functools import cache
from pathlib import Path

from sidecar.errors import KernelError

_POSSIBLE = Path("/sys/devices/system/cpu/possible")


@cache
def possible_cpus() -> tuple[int, ...]:
    """
    Return the numbers of the possible CPUs, which are fixed at boot.

    Raises:
        KernelError: The kernel's list cannot be read or parsed.

    """
    try:
        return parse_cpu_list(_POSSIBLE.read_text())
    except (OSError, ValueError) as error:
        raise KernelError(f"count possible CPUs in {_POSSIBLE}", str(error), "mount sysfs at /sys") from error


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """
    Return the numbers of the CPUs that a kernel CPU list such as `0-3` names.

    The kernel copies one slot for each CPU of its possible mask, in ascending order
    (kernel/bpf/arraymap.c, `bpf_percpu_array_copy`), so a mask with holes, `0,2-3`, means three slots.

    Raises:
        ValueError: The text is not an ascending CPU list.

    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not first.isascii() or not first.isdigit() or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(f"not a CPU list: {text.strip()!r}")
        low, high = int(first), int(last or first)
        if low <= (cpus[-1] if cpus else -1) or high < low:
            raise ValueError(f"not an ascending CPU list: {text.strip()!r}")
        cpus += range(low, high + 1)
    return tuple(cpus)


def stride(value_size: int) -> int:
    """Return the size of a CPU's slot in bytes: the value padded to 8 (kernel: `round_up(value_size, 8)`)."""
    return (value_size + 7) & ~7
