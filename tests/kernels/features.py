# SPDX-License-Identifier: Apache-2.0
"""The features of the running kernel that decide what xdp-otel can do, each by trying it."""

import os
import platform
import subprocess

from demo.bpf_commands import map_create
from sidecar.errors import KernelError
from sidecar.kernel import capabilities, features, libbpf, map_kinds, netlink, uapi, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface

_IFACE = "probed"
_NO_PREALLOC = 1  # tries must have it


def found() -> dict[str, str]:
    """Return, for each column of the table, what the running kernel has."""
    return {
        "kernel": platform.release(),
        "program": _program(),
        "attached": _attached(),
        "TCX": _tcx(),
        "batch lookups": _batches(),
        "BTF": "yes" if features.has_btf() else "no",
        "reading needs": _reading(),
    }


def _program() -> str:
    """The program that the loader takes."""
    with libbpf.load_packet_counter() as program:
        return "`xdp_count_frags`" if program.has_frags else "`xdp_count`"


def _attached() -> str:
    """The modes in which the program can be attached, to veth and to a bridge, by a bpf_link."""
    modes = []
    for kind in (("veth", "peer", "name", "peer"), ("bridge",)):
        subprocess.run(["ip", "link", "add", _IFACE, "type", *kind], check=True)
        interface = Interface(_IFACE)
        try:
            xdp.attach(interface)
            link = next(link for link in netlink.links() if link.name == _IFACE)
            modes += [mode for mode, _ in link.programs]
            xdp.detach(interface)
        except KernelError:
            pass
        finally:
            subprocess.run(["ip", "link", "del", _IFACE], check=True)
    return ", ".join(modes) or "no"


def _tcx() -> str:
    try:
        features.require_tcx("probe")
    except KernelError:
        return "no"
    return "yes"


def _batches() -> str:
    """The kinds of maps that are read in batches."""
    having, lacking = [], []
    for name in map_kinds.READABLE:
        number = uapi.MAP_TYPES.index(name)
        flags = _NO_PREALLOC if map_kinds.kind_of(number).is_trie else 0
        fd = map_create(
            number,
            key_size=4 if map_kinds.kind_of(number).is_array else 8,
            value_size=8,
            max_entries=4,
            name=_IFACE,
            flags=flags,
        )
        try:
            (having if features.reads_in_batches(fd, bpf.map_info(fd)) else lacking).append(name)
        finally:
            os.close(fd)
    return f"all but {', '.join(lacking)}" if having and lacking else "all" if having else "none"


def _reading() -> str:
    return "CAP_BPF" if capabilities.reading_needs_bpf() else "nothing"
