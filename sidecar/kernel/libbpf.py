# SPDX-License-Identifier: Apache-2.0
"""
Load the shipped programs through the system's libbpf 1.x.

libbpf is needed only to load (ELF, relocations, BTF) and to query the program on an interface (netlink), not
to read maps. Functions and structures follow `bpf/libbpf.h`.
"""

import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sidecar.errors import KernelError, RightsError, VerifierError, explain, from_os_error
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.library_log import LibraryLog

OBJECT_FILE = "xdp_packet_counter.bpf.o"
MAP_NAME = "stats_map"
# The same programs with a second map, a histogram of lengths.
_SIZES_OBJECT_FILE = "xdp_packet_counter_sizes.bpf.o"
SIZES_MAP_NAME = "sizes_map"
# libbpf derives the name of the second map, `.rodata`, from it; by default from an address in memory.
OBJECT_NAME = b"xdp_otel"
# Multi-buffer XDP came with Linux 5.18; older kernels get the linear program.
_PROGRAM_FRAGS = "xdp_count_frags"
_PROGRAM_LINEAR = "xdp_count"
_PROGRAM_TCX = "tcx_count"
XDP_PROGRAM_NAMES = (_PROGRAM_FRAGS, _PROGRAM_LINEAR)
_SCHED_CLS = 3  # enum bpf_prog_type

LOAD_RIGHTS = (Capability.BPF, Capability.NET_ADMIN)
"""What loading and attaching a program need; before Linux 5.18 the verifier needs CAP_PERFMON as well."""


@dataclass
class LoadedProgram:
    """A loaded program and its maps; `close` frees them unless they are pinned or attached."""

    prog_fd: int
    map_fd: int
    has_frags: bool
    _object: int
    sizes_fd: int = -1
    """The map of packet sizes, if the program counts them."""

    def close(self) -> None:
        """Free the object; safe to call twice."""
        if self._object:
            _library().bpf_object__close(ctypes.c_void_p(self._object))
            self._object = 0

    def __enter__(self) -> "LoadedProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Attached:
    """The XDP program on an interface; `prog_id` is 0 if there is none."""

    prog_id: int
    generic: bool


class _OpenOpts(ctypes.Structure):
    """The beginning of `struct bpf_object_open_opts`; libbpf reads as much as `sz` says."""

    _fields_ = (("sz", ctypes.c_size_t), ("object_name", ctypes.c_char_p))


class _XdpQueryOpts(ctypes.Structure):
    """`struct bpf_xdp_query_opts`."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_id", ctypes.c_uint32),
        ("drv_prog_id", ctypes.c_uint32),
        ("hw_prog_id", ctypes.c_uint32),
        ("skb_prog_id", ctypes.c_uint32),
        ("attach_mode", ctypes.c_uint8),
    )


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelError(
            "load libbpf.so.1", str(error), "install libbpf 1.x (Debian: libbpf1, RHEL: libbpf)"
        ) from error
    for name in ("bpf_object__open_mem", "bpf_object__find_program_by_name", "bpf_object__find_map_by_name"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


@dataclass(frozen=True)
class Sizes:
    """Wish for a program that counts packet sizes as well: in the map *reuse_fd*, or in a new one."""

    reuse_fd: int | None = None


def object_bytes(file: str = OBJECT_FILE) -> bytes:
    """Return the compiled programs shipped in the package; raise KernelError if they are missing."""
    try:
        return (Path(__file__).parents[1] / file).read_bytes()
    except FileNotFoundError:
        raise KernelError(
            f"load the shipped program {file}",
            "missing from this installation",
            "build it with `make bpf`",
        ) from None


def load_packet_counter(
    *, reuse_map_fd: int | None = None, frags: bool | None = None, sizes: Sizes | None = None
) -> LoadedProgram:
    """
    Load the packet counter for XDP.

    Args:
        reuse_map_fd: A map of the same shape in which to continue counting; by default a new one.
        frags: Require the multi-buffer program, or the linear one; by default the first that loads.
        sizes: Count packet sizes as well.

    Raises:
        KernelError: libbpf is missing, or the verifier rejected the program; the message has its last line.
        RightsError: CAP_BPF or CAP_NET_ADMIN is missing.

    """
    if frags is not None:
        return _load(_PROGRAM_FRAGS if frags else _PROGRAM_LINEAR, reuse_map_fd, sizes)
    try:
        return _load(_PROGRAM_FRAGS, reuse_map_fd, sizes)
    except VerifierError:
        raise
    except KernelError:
        # A kernel without multi-buffer XDP rejects the flag before it verifies the program.
        return _load(_PROGRAM_LINEAR, reuse_map_fd, sizes)


def load_transmit_counter(*, reuse_map_fd: int | None = None, sizes: Sizes | None = None) -> LoadedProgram:
    """Load the packet counter for TCX egress; arguments and errors are those of `load_packet_counter`."""
    return _load(_PROGRAM_TCX, reuse_map_fd, sizes)


@contextmanager
def opened(map_fd: int, *, frags: bool) -> Iterator[ctypes.c_void_p]:
    """Open the shipped program, set to count in an existing map, for another library to load in the block."""
    name = _PROGRAM_FRAGS if frags else _PROGRAM_LINEAR
    with LoadedProgram(-1, -1, frags, _open(f"open XDP program {name}")) as program:
        _prepare(program._object, name, {MAP_NAME: map_fd})  # noqa: SLF001
        yield ctypes.c_void_p(program._object)  # noqa: SLF001


def _load(program_name: str, reuse_map_fd: int | None, sizes: Sizes | None) -> LoadedProgram:
    library = _library()
    what = f"load {'TCX' if program_name == _PROGRAM_TCX else 'XDP'} program {program_name}"
    with LibraryLog(_library().libbpf_set_print) as log:
        handle = _open(what, _SIZES_OBJECT_FILE if sizes else OBJECT_FILE)
        loaded = LoadedProgram(-1, -1, program_name == _PROGRAM_FRAGS, handle)
        try:
            reused = {MAP_NAME: reuse_map_fd, **({SIZES_MAP_NAME: sizes.reuse_fd} if sizes else {})}
            _prepare(handle, program_name, reused)
            code = -library.bpf_object__load(ctypes.c_void_p(handle))
            if code:
                raise _refused(what, code, log.verdict())
            loaded.prog_fd = library.bpf_program__fd(_program(handle, program_name))
            loaded.map_fd = library.bpf_map__fd(_map(handle, MAP_NAME))
            if sizes:
                loaded.sizes_fd = library.bpf_map__fd(_map(handle, SIZES_MAP_NAME))
        except BaseException:
            loaded.close()
            raise
    return loaded


def _open(what: str, file: str = OBJECT_FILE) -> int:
    data = object_bytes(file)
    opts = _OpenOpts(ctypes.sizeof(_OpenOpts), OBJECT_NAME)
    handle: int | None = _library().bpf_object__open_mem(data, ctypes.c_size_t(len(data)), ctypes.byref(opts))
    if not handle:
        raise KernelError(what, explain(OSError(ctypes.get_errno(), "")), "reinstall the package")
    return handle


def _refused(what: str, code: int, verdict: str) -> RightsError | KernelError:
    cause = explain(OSError(code, ""))
    if verdict:
        # EACCES comes from the verifier too; before 5.18 computing a packet's length needs CAP_PERFMON.
        return VerifierError(
            what,
            f"{cause}: verifier: {verdict}",
            "add CAP_PERFMON, which older kernels need (mainline: before 5.18), or upgrade the kernel",
        )
    if code in (errno.EPERM, errno.EACCES):
        return RightsError(what, cause, remedy(*LOAD_RIGHTS))
    return KernelError(what, cause, "`xdp-otel check` shows which features of BPF the kernel has")


def _prepare(handle: int, program_name: str, reused: Mapping[str, int | None]) -> None:
    library = _library()
    for name in (*XDP_PROGRAM_NAMES, _PROGRAM_TCX):
        library.bpf_program__set_autoload(_program(handle, name), ctypes.c_bool(name == program_name))
    # libbpf knows the section tcx/egress only from 1.3 on.
    library.bpf_program__set_type(_program(handle, _PROGRAM_TCX), _SCHED_CLS)
    for name, map_fd in reused.items():
        code = 0 if map_fd is None else -library.bpf_map__reuse_fd(_map(handle, name), map_fd)
        if code:
            raise from_os_error(
                f"reuse map {name}",
                OSError(code, os.strerror(code)),
                rights=remedy(*LOAD_RIGHTS),
                otherwise="remove the pinned map with `xdp-otel detach`",
            )


def _program(handle: int, name: str) -> ctypes.c_void_p:
    find = _library().bpf_object__find_program_by_name
    return _found(find(ctypes.c_void_p(handle), name.encode()), f"program {name}")


def _map(handle: int, name: str) -> ctypes.c_void_p:
    find = _library().bpf_object__find_map_by_name
    return _found(find(ctypes.c_void_p(handle), name.encode()), f"map {name}")


def _found(item: int | None, what: str) -> ctypes.c_void_p:
    """Return a part of the object; libbpf would use NULL without asking."""
    if not item:
        raise KernelError(
            "load the shipped program",
            f"it has no {what}, so it is of another version",
            "build it with `make bpf`, or reinstall the package",
        )
    return ctypes.c_void_p(item)


def attached_prog_id(ifindex: int) -> int:
    """Return the id of the XDP program on an interface of this network namespace, 0 if there is none."""
    return attached(ifindex).prog_id


def attached(ifindex: int) -> Attached:
    """Return the XDP program on an interface of this network namespace; raise OSError if the query fails."""
    opts = _XdpQueryOpts(sz=ctypes.sizeof(_XdpQueryOpts))
    code = -_library().bpf_xdp_query(ifindex, 0, ctypes.byref(opts))
    if code:
        raise OSError(code, os.strerror(code))
    prog_id = opts.drv_prog_id or opts.skb_prog_id or opts.hw_prog_id or opts.prog_id
    return Attached(int(prog_id), generic=prog_id == opts.skb_prog_id)
