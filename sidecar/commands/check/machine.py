# SPDX-License-Identifier: Apache-2.0
"""What the kernel can do, by trying it: distributions put features into kernels with older numbers."""

from collections.abc import Iterator, Sequence
from functools import partial

from sidecar.commands.check.rows import Rows
from sidecar.kernel import capabilities, features, libbpf, netns
from sidecar.kernel.interface import Interface
from sidecar.sources.source import Source


def check_features(sources: Sequence[Source], to_attach: Sequence[Interface], rows: Rows) -> None:
    """Print which features the kernel has; one that `run` cannot do without is a failure."""
    rows.ok("kernel", *_to_read())
    for source in sources:
        if not (source.info.kind.is_array and source.info.max_entries == 1):
            rows.step(f"kernel, {source.name}", partial(_batches, source))
    # One of each direction tells for all.
    for interface in {interface.direction: interface for interface in to_attach}.values():
        if interface.direction == "transmit":
            rows.step("kernel, shipped TCX program", partial(_to_attach_tcx, interface))
        else:
            rows.step("kernel, shipped program", partial(_to_attach, interface))


def _to_read() -> Iterator[str]:
    needs = "CAP_BPF" if features.knows_cap_bpf() else "CAP_SYS_ADMIN, as there is no CAP_BPF"
    reading = f"needs {needs}" if capabilities.reading_needs_bpf() else "needs no capability"
    yield f"reading an open map {reading}"
    yield f"BTF of its own: {'yes' if features.has_btf() else 'no, so no program can join a dispatcher'}"


def _batches(source: Source) -> Iterator[str]:
    if features.reads_in_batches(source.map_fd, source.info):
        yield "reads maps of this kind in batches"
    else:
        yield "reads maps of this kind key by key: as exact, but slower"


def _to_attach(interface: Interface) -> Iterator[str]:
    """Load the shipped program, without attaching it, and yield what the kernel makes of it."""
    with netns.entered(interface.netns), libbpf.load_packet_counter(sizes=_sizes(interface)) as program:
        frags = "with" if program.has_frags else "without"
        yield f"loads, {frags} multi-buffer packets, and with a per-CPU array"
        features.require_xdp_link(program.prog_fd, f"attach to {interface.name}")
        yield "can be attached by a bpf_link, which outlives the process"


def _to_attach_tcx(interface: Interface) -> Iterator[str]:
    """Load the shipped TCX program, without attaching it, and yield what the kernel makes of it."""
    with netns.entered(interface.netns), libbpf.load_transmit_counter(sizes=_sizes(interface)):
        yield "loads, for TCX egress, where it can be attached by a bpf_link"


def _sizes(interface: Interface) -> libbpf.Sizes | None:
    return libbpf.Sizes() if interface.counted == "sizes" else None
