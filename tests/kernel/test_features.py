# SPDX-License-Identifier: Apache-2.0
"""Features are tried, without a trace."""

import os
import platform
import re
import socket

import pytest

from sidecar.errors import KernelError
from sidecar.kernel import features, libbpf, uapi
from sidecar.kernel import syscall as bpf

KERNEL = tuple(map(int, re.findall(r"[0-9]+", platform.release())[:2]))


def test_a_link_for_xdp_is_tried_on_loopback_and_attaches_nothing():
    """Offload is a mode that it cannot have; a mainline kernel has such links since 5.9."""
    before = libbpf.attached_prog_id(socket.if_nametoindex("lo"))
    with libbpf.load_packet_counter() as program:
        features.require_xdp_link(program.prog_fd, "attach to lo")

    assert libbpf.attached_prog_id(socket.if_nametoindex("lo")) == before


def test_a_kernel_without_such_links_answers_einval(monkeypatch):
    """As to an attach type that it does not know."""
    monkeypatch.setattr(uapi, "ATTACH_XDP", 4096)
    with (
        libbpf.load_packet_counter() as program,
        pytest.raises(KernelError, match="cannot attach to lo: the kernel has no bpf_link for XDP: "),
    ):
        features.require_xdp_link(program.prog_fd, "attach to lo")


@pytest.mark.parametrize(
    ("kind", "since"),
    [(uapi.MAP_HASH, (5, 6)), (uapi.MAP_LRU_PERCPU_HASH, (5, 6)), (uapi.MAP_PERCPU_ARRAY, (5, 13))],
)
def test_batches_are_tried_on_the_map_itself(make_map, kind, since):
    """Without reading an entry. A ring buffer, and a map of an older kernel, has none."""
    fd = make_map(kind, max_entries=64)

    assert features.reads_in_batches(fd, bpf.map_info(fd)) or since > KERNEL
    ring = make_map(27, key_size=0, value_size=0, max_entries=4096)
    assert not features.reads_in_batches(ring, bpf.map_info(ring))


def test_cap_bpf_is_known_since_5_8():
    """And the kernel's own BTF is where it is."""
    assert features.knows_cap_bpf() == (KERNEL >= (5, 8))
    assert features.has_btf() == os.path.exists("/sys/kernel/btf/vmlinux")
