# SPDX-License-Identifier: Apache-2.0
"""Run programs in a root file system, and those of another architecture with qemu's user emulation."""

import shutil
import subprocess

from release.architectures import MACHINES, of_this_machine

# e_machine of each, from <linux/elf-em.h>.
_ELF_MACHINES = {"amd64": 62, "arm64": 183}

# A user namespace has its own table of emulators since Linux 6.7: the machine is left as it is. F opens the
# emulator now, so that it need not be in the root.
_EMULATED = """
set -eu
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s "$1" > /proc/sys/fs/binfmt_misc/register
shift
"""
_CHROOT = """
set -eu
for place in proc dev; do if [ -d "$1/$place" ]; then mount --rbind "/$place" "$1/$place"; fi; done
exec chroot "$@"
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def emulator(architecture):
    """Return qemu's program for *architecture*."""
    program = shutil.which(f"qemu-{MACHINES[architecture]}-static")
    assert program, "install the package qemu-user-static"
    return program


def run_in(root, architecture, *command, **options):
    """Run *command* of *architecture* in *root*, with /proc, and with /dev if there is a place for it."""
    (root / "proc").mkdir(exist_ok=True)
    if architecture == of_this_machine():
        script, words, spaces = _CHROOT, (), ("--mount",)
    else:
        script, spaces = _EMULATED + _CHROOT, ("--user", "--map-root-user", "--mount")
        words = (_registration(architecture),)
    return run("unshare", *spaces, "sh", "-c", script, "sh", *words, root, *command, **options)


def _registration(architecture):
    """Return what says which programs are emulated: 64-bit little-endian executables (binfmt-misc.rst)."""
    machine = _ELF_MACHINES[architecture]
    magic = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x02\0" + machine.to_bytes(2, "little")
    # Any ABI; an executable (2) or a position-independent one (3).
    mask = b"\xff" * 7 + b"\0" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    escaped = ["".join(f"\\x{byte:02x}" for byte in each) for each in (magic, mask)]
    return f":{architecture}:M::{escaped[0]}:{escaped[1]}:{emulator(architecture)}:F"
