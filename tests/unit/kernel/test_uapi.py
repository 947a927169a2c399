# SPDX-License-Identifier: Apache-2.0
"""The structures and numbers of bpf(2), on other machines than this one."""

import ctypes
import platform
import re
from pathlib import Path

import pytest

from sidecar.kernel import uapi

STRUCTURES = [
    each for each in vars(uapi).values() if isinstance(each, type) and issubclass(each, ctypes.Structure)
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda each: each.__name__)
def test_a_structure_is_the_same_wherever_u64_is_aligned(structure):
    """32-bit x86 aligns it to 4 bytes, the kernel's `__aligned_u64` to 8: no field has a gap before it."""
    end = 0
    for name, *_ in structure._fields_:
        field = getattr(structure, name)
        assert field.offset == end, name
        end += field.size


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs the headers of x86-64")
@pytest.mark.parametrize(
    ("header", "machines"),
    [
        ("x86_64-linux-gnu/asm/unistd_64.h", [("x86_64", 8)]),
        ("x86_64-linux-gnu/asm/unistd_32.h", [("x86_64", 4), ("i686", 4)]),
        ("asm-generic/unistd.h", [("aarch64", 8), ("riscv64", 8), ("loongarch64", 8)]),
    ],
)
def test_the_number_is_that_of_the_kernels_headers(header, machines):
    text = Path("/usr/include", header).read_text()
    number = int(re.search(r"^#define __NR_bpf\s+(\d+)$", text, re.MULTILINE)[1])
    assert {uapi.SYS_BPF[machine] for machine in machines} == {number}
