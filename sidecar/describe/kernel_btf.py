# SPDX-License-Identifier: Apache-2.0
"""The shape of a map from the BTF that the kernel holds for it."""

from functools import lru_cache

from sidecar.describe.btf import Btf
from sidecar.describe.btf_shape import shape_of
from sidecar.describe.prefixes import with_prefix
from sidecar.describe.shape import Shape
from sidecar.kernel import syscall as bpf


# Read again with another configuration, which the rights that are left may no longer allow.
@lru_cache(maxsize=64)
def shape_by_btf(info: bpf.MapInfo) -> Shape | None:
    """
    Return the shape of a map from its BTF, or None if it has none.

    Raises:
        PermissionError: The kernel gives BTF to CAP_SYS_ADMIN only (kernel/bpf/syscall.c,
            `bpf_btf_get_fd_by_id`).
        OSError: The kernel refused for another reason.
        ValueError: The BTF is damaged, or describes a type that cannot be read.

    """
    if not info.btf_id or not info.btf_value_type_id:
        return None
    btf = Btf(bpf.btf_of(info.btf_id))
    shape = shape_of(btf, info.btf_key_type_id, info.btf_value_type_id, info.key_size, info.value_size)
    return with_prefix(shape, info)
