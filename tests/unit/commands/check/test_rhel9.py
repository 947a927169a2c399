# SPDX-License-Identifier: Apache-2.0
"""
What `check` says on the kernels of RHEL 9, by their published features: none of them can run here.

Published, in the chapter "Available BPF features" of the release notes of each minor release, the output of
`bpftool feature`: CONFIG_DEBUG_INFO_BTF, bpf(2), unprivileged_bpf_disabled=2
(docs.redhat.com/en/documentation/Red_Hat_Enterprise_Linux/9/html/9.7_release_notes/available_bpf_features).
The base is Linux 5.14, with CAP_BPF, `bpf_link` for XDP, and batches for hashes and per-CPU arrays.

Backported: TCX, RHEL-28590:
gitlab.com/redhat/centos-stream/src/kernel/centos-stream-9/-/merge_requests/3968.

Inferred, not published: that came too late for 9.4, so TCX is in 9.5. Multi-buffer XDP is in 9.2:
github.com/openshift/ingress-node-firewall/pull/262 waited for RHEL 9 to call bpf_xdp_load_bytes.

Not known, so both are tested: whether 9.0 and 9.1 have multi-buffer XDP, and whether reading a map needs
CAP_BPF, as before 5.19.
"""

import errno
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from sidecar.commands.check import attaching
from sidecar.commands.check.machine import check_features
from sidecar.commands.check.rows import Rows
from sidecar.errors import KernelError
from sidecar.kernel import capabilities, features, libbpf, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface

ENOTSUPP = 524


@dataclass(frozen=True)
class Kernel:
    """What differs between the minor releases."""

    has_tcx: bool
    has_frags: bool = True
    reading_needs_bpf: bool = False


RHEL_9_0 = Kernel(has_tcx=False, has_frags=False, reading_needs_bpf=True)
RHEL_9_4 = Kernel(has_tcx=False)
RHEL_9_5 = Kernel(has_tcx=True)


@pytest.fixture
def run_on(monkeypatch):
    """Let bpf(2), BTF and the capabilities answer as that kernel does."""

    def answer(kernel):
        def no_tcx(*_):
            raise OSError(errno.EINVAL, "Invalid argument")

        def no_offload(*_):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        loaded = SimpleNamespace(prog_fd=-1, has_frags=kernel.has_frags)
        monkeypatch.setattr(bpf, "tcx_prog_ids", (lambda *_: ()) if kernel.has_tcx else no_tcx)
        monkeypatch.setattr(bpf, "link_create_xdp", no_offload)
        monkeypatch.setattr(bpf, "map_lookup_batch", lambda *_: (0, 0))
        monkeypatch.setattr(libbpf, "load_packet_counter", lambda **_: nullcontext(loaded))
        monkeypatch.setattr(features, "has_btf", lambda: True)
        monkeypatch.setattr(features, "knows_cap_bpf", lambda: True)
        monkeypatch.setattr(capabilities, "reading_needs_bpf", lambda: kernel.reading_needs_bpf)
        monkeypatch.setattr(attaching, "missing", lambda *_: ())

    return answer


@pytest.mark.parametrize(
    ("kernel", "reading", "frags"),
    [
        (RHEL_9_0, "needs CAP_BPF", "without multi-buffer packets"),
        (RHEL_9_4, "needs no capability", "with multi-buffer packets"),
    ],
)
def test_received_packets_are_counted_on_all_of_them(run_on, capsys, kernel, reading, frags):
    """By a bpf_link, in a per-CPU array, whatever the kernel's number says."""
    run_on(kernel)
    rows = Rows()
    check_features([], [Interface("lo")], rows)

    assert rows.first_error is None
    assert capsys.readouterr().out.splitlines() == [
        f"ok      kernel: reading an open map {reading}",
        "        BTF of its own: yes",
        f"ok      kernel, shipped program: loads, {frags}, and with a per-CPU array",
        "        can be attached by a bpf_link, which outlives the process",
    ]


def test_transmitted_packets_are_counted_since_9_5(run_on):
    """Before it, `check` names what is missing and what works instead."""
    transmit = Interface("lo", direction="transmit")
    run_on(RHEL_9_5)
    attaching.require_attachable(transmit)
    run_on(RHEL_9_4)

    with pytest.raises(KernelError, match=r"the kernel has no TCX.*: count received packets alone"):
        attaching.require_attachable(transmit)


@pytest.mark.parametrize(
    ("code", "reads"), [(0, True), (errno.ENOENT, True), (errno.EINVAL, False), (ENOTSUPP, False)]
)
def test_batches_are_told_by_the_answer_to_an_empty_one(monkeypatch, code, reads):
    """EINVAL from kernels without the command, ENOTSUPP for maps without it."""
    monkeypatch.setattr(bpf, "map_lookup_batch", lambda *_: (0, code))
    info = bpf.MapInfo(1, uapi.MAP_HASH, "flows", 4, 8, 64, 0, 0, 0)

    assert features.reads_in_batches(3, info) is reads
