# SPDX-License-Identifier: Apache-2.0
"""Load all programs of a BPF object of this directory through libbpf."""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def programs(path: Path) -> Iterator[Mapping[str, int]]:
    """Load an object; yield the descriptors of its programs by name."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name in ("bpf_object__open_file", "bpf_object__next_program"):
        getattr(library, name).restype = ctypes.c_void_p
    library.bpf_program__name.restype = ctypes.c_char_p
    handle = ctypes.c_void_p(library.bpf_object__open_file(os.fsencode(path), None))
    if not handle:
        raise OSError(ctypes.get_errno(), "bpf_object__open_file", str(path))
    try:
        code = -library.bpf_object__load(handle)
        if code:
            raise OSError(code, "bpf_object__load", str(path))
        descriptors: dict[str, int] = {}
        program = ctypes.c_void_p(library.bpf_object__next_program(handle, None))
        while program:
            descriptors[library.bpf_program__name(program).decode()] = library.bpf_program__fd(program)
            program = ctypes.c_void_p(library.bpf_object__next_program(handle, program))
        yield descriptors
    finally:
        library.bpf_object__close(handle)
