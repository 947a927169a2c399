# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels: downloaded by apt without touching what the machine itself installs, and unpacked."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.architecture import AMD64, Architecture

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build/kernels"
OBJECTS = BUILD / "objects"
"""The BPF programs of the tests, compiled."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_BUSYBOX = "usr/bin/busybox"
_PARTS = re.compile(r"linux-(image|binary|modules|base)-\d")
"""Newer kernels are divided into several packages."""


class UnavailableError(Exception):
    """A kernel, or a program to boot it with, cannot be had; the text is the complete message."""


@dataclass(frozen=True)
class Kernel:
    """A kernel by the name that the table gives it, and the suite of Debian that has it."""

    name: str
    suite: str
    architecture: Architecture = AMD64

    @property
    def directory(self) -> Path:
        """Where everything about it is kept."""
        return BUILD / self.name


KERNELS = (
    Kernel("5.10", "bullseye"),
    Kernel("6.1", "bookworm"),
    Kernel("6.12", "trixie"),
    Kernel("newest", "trixie-backports"),
)


@dataclass(frozen=True)
class Unpacked:
    """A kernel's files; *version* is what `uname -r` says."""

    root: Path
    version: str
    image: Path

    @property
    def busybox(self) -> Path:
        """A static one, for the same machine."""
        return self.root / _BUSYBOX


def unpacked(kernel: Kernel) -> Unpacked:
    """Return the kernel's files, downloaded if they are not here; raises UnavailableError."""
    root = kernel.directory / "root"
    if not (root / _BUSYBOX).exists():
        try:
            _unpack(kernel, root)
        except subprocess.CalledProcessError as error:
            cause = (error.stderr or error.stdout or "no message").strip().splitlines()[-1]
            raise UnavailableError(f"cannot get kernel {kernel.name} from {kernel.suite}: {cause}") from None
    image = next(iter((*root.glob("boot/vmlinuz-*"), *root.glob("usr/lib/modules/*/vmlinuz"))), None)
    if image is None:
        raise UnavailableError(
            f"cannot find an image of kernel {kernel.name} in {root}: delete it, then try again"
        )
    return Unpacked(root, next(root.glob("usr/lib/modules/*")).name, image)


def _unpack(kernel: Kernel, root: Path) -> None:
    """Download the kernel's packages and unpack them into *root*."""
    _configure(kernel)
    metapackage = f"linux-image-{kernel.architecture.name}"
    only = [
        f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    ]
    names = _apt(kernel, "apt-cache", "depends", "--recurse", *only, metapackage).splitlines()
    parts = [name for name in names if _PARTS.match(name)]
    if not parts:
        raise UnavailableError(f"cannot get kernel {kernel.name}: {kernel.suite} has no {metapackage}")
    _apt(kernel, "apt-get", "download", "busybox-static", *parts)
    temporary = root.with_suffix(".new")
    for directory in (root, temporary):
        shutil.rmtree(directory, ignore_errors=True)
    _extract(kernel.directory, temporary)
    version = next(temporary.glob("usr/lib/modules/*")).name
    _run("depmod", "--basedir", str(temporary), version)
    temporary.rename(root)


def unpack_programs(kernel: Kernel, root: Path, *names: str) -> None:
    """Unpack packages of the kernel's suite, and all that they depend on, into *root*, which is new."""
    _configure(kernel)
    archives = kernel.directory / "apt/cache/archives"
    # None is installed, as far as this apt knows: it downloads everything.
    _apt(kernel, "apt-get", "install", "--yes", "--no-install-recommends", "--download-only", *names)
    _extract(archives, root)


def _extract(packages: Path, root: Path) -> None:
    """Unpack and delete the packages of a directory; *root* is new."""
    # Older packages have files below directories that are links in all but them.
    for name in ("bin", "lib", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted(packages.glob("*.deb")):
        content = subprocess.Popen(("dpkg-deb", "--fsys-tarfile", package), stdout=subprocess.PIPE)
        with content:
            _run(
                "tar",
                "--extract",
                "--keep-directory-symlink",
                f"--directory={root}",
                stdin=content.stdout,
            )
        package.unlink()


def _configure(kernel: Kernel) -> None:
    """Give apt sources and directories of its own, with the mirrors that the machine itself uses."""
    architecture = kernel.architecture.name
    apt = kernel.directory / "apt"
    for directory in ("lists/partial", "cache/archives/partial"):
        (apt / directory).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    suites = {"Debian": kernel.suite}
    if "-" not in kernel.suite:
        suites["Debian-Security"] = f"{kernel.suite}-security"
    options = f"[signed-by={_KEYRING} arch={architecture}]"
    lines = [f"deb {options} {_mirror(label)} {suite} main\n" for label, suite in suites.items()]
    (apt / "sources.list").write_text("".join(lines))
    (apt / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{apt}/sources.list"; Dir::Etc::SourceParts "-";\n'
        f'Dir::State "{apt}"; Dir::State::status "{apt}/status"; Dir::Cache "{apt}/cache";\n'
        f'APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};\n'
        # The directory need not be open to apt's own user.
        'Acquire::Languages "none"; APT::Sandbox::User "root";\n'
    )
    _apt(kernel, "apt-get", "update")


def _mirror(label: str) -> str:
    """Return where this machine's apt gets Debian's packages of that label from."""
    found = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", f"Label: {label}").split()
    if not found:
        raise UnavailableError(f"cannot find a mirror: no repository with the label {label} in apt's sources")
    return found[0]


def _apt(kernel: Kernel, *command: str) -> str:
    apt_conf = kernel.directory / "apt/apt.conf"
    return _run("env", f"APT_CONFIG={apt_conf}", *command, cwd=kernel.directory)


def _run(*command: str, **options) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
