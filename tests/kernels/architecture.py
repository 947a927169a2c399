# SPDX-License-Identifier: Apache-2.0
"""What differs between the machines of different architectures."""

from dataclasses import dataclass

from release.architectures import MACHINES


@dataclass(frozen=True)
class Architecture:
    """An architecture by Debian's name; the rest is what QEMU calls its parts."""

    name: str
    machine: str
    emulated_cpu: str
    console: str
    qemu_package: str
    """Debian's package that has its QEMU."""

    @property
    def uname(self) -> str:
        """What `uname -m` says."""
        return MACHINES[self.name]

    @property
    def qemu(self) -> str:
        """The program."""
        return f"qemu-system-{self.uname}"


# Without what would only make emulation slower: five levels of page tables, arm64's own way to sign pointers.
AMD64 = Architecture("amd64", "q35", "max,la57=off", "ttyS0", "qemu-system-x86")
ARM64 = Architecture("arm64", "virt", "max,pauth-impdef=on", "ttyAMA0", "qemu-system-arm")
