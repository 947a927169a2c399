# SPDX-License-Identifier: Apache-2.0
"""The shape of a map from the BTF that the kernel holds for it, or for a program that uses it."""

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from sidecar.describe.btf import Btf
from sidecar.describe.btf_shape import shape_of
from sidecar.describe.declared import declared_shape
from sidecar.describe.prefixes import with_prefix
from sidecar.describe.shape import Shape
from sidecar.kernel import syscall as bpf


def shape_by_btf(info: bpf.MapInfo) -> Shape | None:
    """
    Return the shape of a map by its BTF, or else as a program that uses it declares it; None without either.

    Raises:
        PermissionError: The map has BTF, and the kernel gives it to CAP_SYS_ADMIN only
            (kernel/bpf/syscall.c, `bpf_btf_get_fd_by_id`).
        OSError: The kernel refused for another reason.
        ValueError: The BTF is damaged, or describes a type that cannot be read.

    """
    if info.btf_id and info.btf_value_type_id:
        return _by_own(info)
    # Listing programs and opening their BTF take CAP_SYS_ADMIN.
    with suppress(LookupError, PermissionError):
        return _by_programs(info)
    return None


# Read again with another configuration, which the rights that are left may no longer allow.
@lru_cache(maxsize=64)
def _by_own(info: bpf.MapInfo) -> Shape:
    btf = Btf(bpf.btf_of(info.btf_id))
    shape = shape_of(btf, info.btf_key_type_id, info.btf_value_type_id, info.key_size, info.value_size)
    return with_prefix(shape, info)


@lru_cache(maxsize=64)
def _by_programs(info: bpf.MapInfo) -> Shape:
    """Raise LookupError if no program tells, which is not cached: programs are loaded after their maps."""
    for btf_id in dict.fromkeys(_btf_of_users(info.id)):
        with suppress(FileNotFoundError, ValueError):
            shape = declared_shape(Btf(bpf.btf_of(btf_id)), info)
            if shape:
                return with_prefix(shape, info)
    raise LookupError(info.name)


def _btf_of_users(map_id: int) -> Iterator[int]:
    for program in bpf.programs():
        if program.btf_id and map_id in program.map_ids:
            yield program.btf_id
