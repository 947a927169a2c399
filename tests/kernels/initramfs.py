# SPDX-License-Identifier: Apache-2.0
"""An initramfs that mounts the test machine's root: busybox, `init` and the modules that they need."""

import lzma
import os
import shlex
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.kernels.packages import Unpacked

_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_DIRECTORIES = ("bin", "modules", "proc", "sys", "dev", "lower", "over", "new")
_HERE = Path(__file__).parent


def build(kernel: Unpacked, command: Sequence[str]) -> bytes:
    """Return an initramfs that runs *command* in the root that is shared, then switches the machine off."""
    modules = _modules(kernel)
    start = f"export PATH={os.environ['PATH']} HOME=/root\n{shlex.join(command)}\n/run/busybox poweroff -f\n"
    files = {
        "init": (_HERE / "init").read_bytes(),
        "start": start.encode(),
        "bin/busybox": kernel.busybox.read_bytes(),
        "modules/order": "".join(f"{name}\n" for name in modules).encode(),
        **{f"modules/{name}": content for name, content in modules.items()},
    }
    entries = [_entry(name, stat.S_IFDIR, b"") for name in _DIRECTORIES]
    entries += [_entry(name, stat.S_IFREG, content) for name, content in files.items()]
    return b"".join((*entries, _entry("TRAILER!!!", 0, b"")))


def _modules(kernel: Unpacked) -> dict[str, bytes]:
    """Return the modules with what they depend on, in the order of loading; none that are built in."""
    modules = {}
    for wanted in _MODULES:
        tell = (
            "modprobe",
            "--show-depends",
            f"--dirname={kernel.root}",
            f"--set-version={kernel.version}",
            wanted,
        )
        for line in subprocess.run(tell, check=True, capture_output=True, text=True).stdout.splitlines():
            verb, _, path = line.partition(" ")
            if verb == "insmod":
                path = Path(path.split()[0])
                content = path.read_bytes()
                modules[path.name.removesuffix(".xz")] = (
                    lzma.decompress(content) if path.suffix == ".xz" else content
                )
    return modules


def _entry(name: str, kind: int, content: bytes) -> bytes:
    """Return a file in cpio's format newc (the kernel's early-userspace/buffer-format.rst)."""
    # inode, mode, user, group, links, time, size, two devices, length of the name, checksum
    fields = (0, kind | 0o755, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
