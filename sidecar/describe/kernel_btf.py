# SPDX-License-Identifier: Apache-2.0
"""The shape of a map from the BTF that the kernel holds for it, or for a program that uses it."""

from collections.abc import Iterator
from functools import lru_cache

from sidecar.describe.btf import Btf
from sidecar.describe.btf_shape import shape_of
from sidecar.describe.map_definition import types_of
from sidecar.describe.prefixes import with_prefix
from sidecar.describe.shape import Shape
from sidecar.kernel import syscall as bpf


# Read again with another configuration, which the rights that are left may no longer allow.
@lru_cache(maxsize=64)
def shape_by_btf(info: bpf.MapInfo) -> Shape | None:
    """
    Return the shape of a map from its BTF, or else from that of a program; None if neither describes it.

    Raises:
        PermissionError: The kernel gives the map's BTF to CAP_SYS_ADMIN only (kernel/bpf/syscall.c,
            `bpf_btf_get_fd_by_id`). Without that right, no program is asked.
        OSError: The kernel refused for another reason.
        ValueError: The BTF is damaged, or describes a type that cannot be read.

    """
    if not info.btf_id or not info.btf_value_type_id:
        return _shape_by_program(info)
    btf = Btf(bpf.btf_of(info.btf_id))
    shape = shape_of(btf, info.btf_key_type_id, info.btf_value_type_id, info.key_size, info.value_size)
    return with_prefix(shape, info)


def _shape_by_program(info: bpf.MapInfo) -> Shape | None:
    """Return the shape that the programs that use a map declare; None unless they agree with its sizes."""
    try:
        for btf in map(Btf, _of_programs(info.id)):
            types = types_of(btf, info.name)
            if types:
                return with_prefix(shape_of(btf, *types, info.key_size, info.value_size), info)
    except (OSError, ValueError):
        # Another map of that name, a right that is missing, or BTF that cannot be used: as if it had none.
        return None
    return None


def _of_programs(map_id: int) -> Iterator[bytes]:
    """Yield the BTF of each program that uses a map; raise OSError without CAP_SYS_ADMIN."""
    programs = filter(None, map(bpf.prog_info_by_id, bpf.prog_ids()))
    for number in {each.btf_id for each in programs if map_id in each.map_ids and each.btf_id}:
        yield bpf.btf_of(number)
