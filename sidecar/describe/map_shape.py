# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel what a map's key and value look like."""

from sidecar.describe.btf import Btf
from sidecar.describe.shape import Shape, shape_of
from sidecar.kernel import syscall as bpf


def shape_by_btf(info: bpf.MapInfo) -> Shape | None:
    """
    Return the shape of a map by its BTF, or None if it has none.

    Raises:
        PermissionError: The kernel shows BTF to CAP_SYS_ADMIN alone (kernel/bpf/syscall.c,
            `bpf_btf_get_fd_by_id`).
        OSError: It could not be had.
        ValueError: It cannot be used.

    """
    if not info.btf_id or not info.btf_value_type_id:
        return None
    btf = Btf(bpf.btf_of(info.btf_id))
    return shape_of(btf, info.btf_key_type_id, info.btf_value_type_id, info.key_size, info.value_size)
