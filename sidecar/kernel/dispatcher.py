# SPDX-License-Identifier: Apache-2.0
"""
Count next to other programs, on an interface that libxdp manages.

libxdp attaches a dispatcher to the interface and the programs, of type `ext`, to the dispatcher. It pins each
of them in a directory named after the interface and the dispatcher (lib/libxdp/protocol.org). That is enough
to find ours among them; libxdp itself is loaded only to join and to leave.
"""

import ctypes
import errno
import os
from functools import cache
from pathlib import Path

from sidecar.errors import KernelError, RightsError, SourceError, explain, translated
from sidecar.kernel import libbpf, pins
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, missing, remedy
from sidecar.kernel.library_log import LibraryLog

PIN_ROOT = pins.BPFFS / "xdp"
RIGHTS = (Capability.SYS_ADMIN, Capability.NET_ADMIN)
"""What libxdp needs: it opens programs by id, loads `ext` programs, and attaches by rtnetlink."""

# enum xdp_attach_mode of xdp/libxdp.h
_UNSPECIFIED, _NATIVE, _GENERIC = 0, 1, 2
# The lowest runs first, so packets that the others drop are counted as well. The default is 50.
_PRIORITY = 0
_STATUS = "`xdp-loader status` shows what libxdp has loaded"


def pins_of(ifindex: int, prog_id: int) -> Path | None:
    """Return where libxdp pins the programs that *prog_id* calls, or None if that is not its dispatcher."""
    directory = PIN_ROOT / f"dispatch-{ifindex}-{prog_id}"
    return directory if os.access(directory, os.F_OK, effective_ids=True) else None


def find(directory: Path, map_id: int) -> Path | None:
    """Return the pin of the program in *directory* that uses the map, or None; raise SidecarError."""
    for path in _programs(directory):
        with pins.opened("program", path, readonly=True, otherwise=_STATUS) as fd:
            # None: the dispatcher is being replaced.
            if fd is not None and map_id in bpf.prog_info(fd).map_ids:
                return path
    return None


def called_by(prog_id: int, ifindex: int) -> tuple[int, ...]:
    """
    Return the ids of the programs that a dispatcher calls; none if it is not one.

    libxdp's are known by their pins; those of bpfman and others by their links.

    Raises:
        OSError: A right is missing.
        SidecarError: The same, for the pins.

    """
    directory = pins_of(ifindex, prog_id)
    if directory is None:
        return tuple(bpf.extensions_of(prog_id))
    found = []
    for path in _programs(directory):
        with pins.opened("program", path, readonly=True, otherwise=_STATUS) as fd:
            if fd is not None:
                found.append(bpf.prog_info(fd).id)
    return tuple(found)


def _programs(directory: Path) -> list[Path]:
    rights = remedy(Capability.DAC_READ_SEARCH)
    with translated(f"list {directory}", rights=rights, otherwise=_STATUS):
        try:
            return sorted(path for path in directory.iterdir() if path.match("prog*-prog"))
        except FileNotFoundError:
            return []  # the dispatcher is being replaced


def join(ifindex: int, map_fd: int, what: str, *, generic: bool, frags: bool) -> None:
    """
    Have libxdp run the shipped program before all others, counting in the map *map_fd*.

    The dispatcher is replaced atomically: no packet misses the other programs meanwhile. *what* begins the
    messages of errors. With *frags* the program accepts multi-buffer packets; libxdp's dispatcher accepts
    them only if all its programs do.

    Raises:
        SourceError: libxdp is not installed.
        RightsError: A capability is missing.
        KernelError: libxdp or the kernel refused.

    """
    library = _library(what)
    with _log(library) as log, libbpf.opened(map_fd, frags=frags) as handle:
        section = b"xdp.frags" if frags else b"xdp"
        program = _pointer(library.xdp_program__from_bpf_obj(handle, section), what, log)
        try:
            library.xdp_program__set_run_prio(program, _PRIORITY)
            mode = _GENERIC if generic else _NATIVE
            _check(library.xdp_program__attach(program, ifindex, mode, 0), what, log)
        finally:
            library.xdp_program__close(program)


def leave(program_pin: Path, ifindex: int, what: str) -> None:
    """
    Have libxdp detach the program pinned at *program_pin*; the others stay.

    Raises the same errors as `join`.
    """
    library = _library(what)
    with _log(library) as log:
        program = _pointer(library.xdp_program__from_pin(os.fsencode(program_pin)), what, log)
        try:
            _check(library.xdp_program__detach(program, ifindex, _UNSPECIFIED, 0), what, log)
        finally:
            library.xdp_program__close(program)


@cache
def _load_library() -> ctypes.CDLL:
    library = ctypes.CDLL("libxdp.so.1", use_errno=True)
    for name in ("xdp_program__from_bpf_obj", "xdp_program__from_pin"):
        getattr(library, name).restype = ctypes.c_void_p
    library.xdp_program__close.restype = None
    library.libxdp_get_error.argtypes = (ctypes.c_void_p,)
    library.libxdp_get_error.restype = ctypes.c_long
    return library


def _library(what: str) -> ctypes.CDLL:
    try:
        return _load_library()
    except OSError:
        raise SourceError(
            what,
            "libxdp manages it, and libxdp.so.1 is not installed",
            "install libxdp (Debian: libxdp1, RHEL: libxdp) to count next to the programs there, "
            "or read one of their maps with --map-path",
        ) from None


def _log(library: ctypes.CDLL) -> LibraryLog:
    # libxdp loads programs through libbpf, which prints messages of its own.
    return LibraryLog(ctypes.CDLL("libbpf.so.1").libbpf_set_print, library.libxdp_set_print)


def _pointer(address: int | None, what: str, log: LibraryLog) -> ctypes.c_void_p:
    """Return a pointer from libxdp, which encodes an error as an address in the last page."""
    pointer = ctypes.c_void_p(address)
    _check(_load_library().libxdp_get_error(pointer), what, log)
    return pointer


def _check(code: int, what: str, log: LibraryLog) -> None:
    """Raise SidecarError unless *code*, a result of libxdp, is 0."""
    if not code:
        return
    cause = f"{explain(OSError(-code, ''))}: libxdp: {log.last()}"
    # libxdp may turn EPERM into another error, so look up what is missing.
    if missing(*RIGHTS) or -code in (errno.EPERM, errno.EACCES):
        raise RightsError(what, cause, remedy(*RIGHTS))
    raise KernelError(what, cause, _STATUS)
