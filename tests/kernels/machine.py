# SPDX-License-Identifier: Apache-2.0
"""A virtual machine: one kernel, a root that it cannot change, a directory for the results."""

import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kernels import initramfs
from tests.kernels.architecture import Architecture
from tests.kernels.packages import Kernel, UnavailableError, Unpacked

_KVM_START_S = 20
_NEEDED = {
    "depmod": "kmod",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
"""The packages by the programs that download, unpack and boot a kernel."""
_KVM = ("kvm", "host")
# A busy host is too late for the timer check of x86, and the kernel may hang. With the same addresses in each
# process, QEMU translates what they share once.
_PARAMETERS = "panic=-1 quiet no_timer_check norandmaps"


def require(architecture: Architecture) -> None:
    """Raise UnavailableError unless the needed programs are here."""
    needed = {architecture.qemu: architecture.qemu_package, **_NEEDED}
    missing = [package for program, package in needed.items() if not shutil.which(program)]
    if missing:
        raise UnavailableError(f"cannot boot kernels: packages missing: apt-get install {' '.join(missing)}")


def run(
    kernel: Kernel,
    files: Unpacked,
    command: Sequence[str],
    *,
    results: Path,
    limit_s: float,
    root: Path = Path("/"),
) -> None:
    """
    Boot the kernel, run *command* in *root*, and return when the machine is off.

    The console is copied to standard output and to the file `console` of *results*, which the command sees as
    /run/results. Raises TimeoutError after *limit_s* seconds.
    """
    emulation = ("tcg,thread=multi", kernel.architecture.emulated_cpu)
    accelerator = _KVM if _has_kvm(kernel, files, results) else emulation
    qemu = _command(kernel, files, command, accelerator, {"root": root, "results": results})
    with subprocess.Popen(
        qemu, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        expired = threading.Event()
        timer = threading.Timer(limit_s, lambda: (expired.set(), process.kill()))
        timer.start()
        try:
            _copy(process, results / "console")
        finally:
            process.kill()
            timer.cancel()
    if expired.is_set():
        raise TimeoutError


def _copy(process: subprocess.Popen[bytes], log: Path) -> None:
    """Copy the console as it comes: a line of progress is complete only after many tests."""
    with log.open("wb") as file:
        while part := process.stdout.read1():
            file.write(part)
            file.flush()
            sys.stdout.buffer.write(part)
            sys.stdout.flush()


def _command(
    kernel: Kernel,
    files: Unpacked,
    command: Sequence[str],
    accelerator: tuple[str, str],
    shared: Mapping[str, Path],
) -> list[str]:
    architecture = kernel.architecture
    image = kernel.directory / "initramfs"
    image.write_bytes(initramfs.build(files, command))
    line = [
        *(architecture.qemu, "-machine", architecture.machine, "-accel", accelerator[0]),
        *("-cpu", accelerator[1], "-smp", "2", "-m", "2G"),
        *("-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-kernel", str(files.image), "-initrd", str(image)),
        *("-append", f"console={architecture.console} {_PARAMETERS}"),
    ]
    for tag, path in {**shared, "kernel": files.root}.items():
        is_read_only = "off" if tag == "results" else "on"
        fs = f"local,id={tag},path={path},security_model=none,multidevs=remap,readonly={is_read_only}"
        line += ["-fsdev", fs, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return line


def _has_kvm(kernel: Kernel, files: Unpacked, results: Path) -> bool:
    """Return whether a guest really starts under KVM: nested in some clouds it is there, and guests hang."""
    if platform.machine() != kernel.architecture.uname or not os.access("/dev/kvm", os.W_OK):
        return False
    touch = ("/run/busybox", "touch", "/run/results/kvm")
    qemu = _command(kernel, files, touch, _KVM, {"root": files.root, "results": results})
    try:
        subprocess.run(qemu, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_KVM_START_S)
    except subprocess.SubprocessError:
        return False
    return (results / "kvm").exists()
