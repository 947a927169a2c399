# SPDX-License-Identifier: Apache-2.0
"""BPF objects of the tests: compiled with the project's flags and loaded by libbpf, never pinned."""

import ctypes
import glob
import os
import platform
import shutil
import subprocess
from pathlib import Path

MAPS = Path(__file__).with_name("maps")
VARIABLE = "XDP_OTEL_TEST_OBJECTS"
"""Where the objects of these may be, compiled already: on an emulated machine clang takes minutes."""
# As bpf/Makefile has them.
_COMPILERS = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))
# Debian installs it under the machine's triplet, others in lib64 or lib.
XDP_TOOLS = [
    item for lib in ("lib/*", "lib64", "lib") for item in glob.glob(f"/usr/{lib}/bpf/xdpfilt_alw_all.o")
]
_FLAGS = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3")


def compile_object(source, target):
    """Compile a BPF program, unless it has been before the test machine started; return its path."""
    prepared = Path(os.environ.get(VARIABLE, "")) / f"{source.name}.o"
    if source.parent == MAPS and prepared.is_file():
        return Path(shutil.copy(prepared, target))
    clang = next(filter(None, map(shutil.which, _COMPILERS)))
    headers = f"/usr/include/{platform.machine()}-linux-gnu"
    subprocess.run([clang, *_FLAGS, "-idirafter", headers, "-c", source, "-o", target], check=True)
    return target


class Loaded:
    """The programs and maps of an object, as file descriptors by name; closed after the block."""

    def __init__(self, path):
        self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self._handle = self._call("bpf_object__open_file", str(path).encode(), None)
        if not self._handle:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))

    def __enter__(self):
        for item in self._each("map"):
            # The object may ask for pins, which would be in everyone's bpffs.
            self._library.bpf_map__set_pin_path(ctypes.c_void_p(item), None)
        code = -self._library.bpf_object__load(ctypes.c_void_p(self._handle))
        if code:
            raise OSError(code, os.strerror(code), "bpf_object__load")
        self.maps = self._descriptors("map")
        self.programs = self._descriptors("program")
        return self

    def __exit__(self, *_):
        self._library.bpf_object__close(ctypes.c_void_p(self._handle))

    def _call(self, name, *arguments, result=ctypes.c_void_p):
        function = getattr(self._library, name)
        function.restype = result
        return function(*arguments)

    def _each(self, what):
        item = None
        while item := self._call(
            f"bpf_object__next_{what}", ctypes.c_void_p(self._handle), ctypes.c_void_p(item)
        ):
            yield item

    def _descriptors(self, what):
        return {
            self._call(
                f"bpf_{what}__name", ctypes.c_void_p(item), result=ctypes.c_char_p
            ).decode(): self._call(f"bpf_{what}__fd", ctypes.c_void_p(item), result=ctypes.c_int)
            for item in self._each(what)
        }
