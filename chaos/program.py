# SPDX-License-Identifier: Apache-2.0
"""A user's own loader: loads the packet counter, attaches it, pins its map, and replaces both."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chaos.counters import minus
from demo import stack
from demo.tap import Counts
from sidecar.kernel import libbpf, netns, uapi
from sidecar.kernel import syscall as bpf


class Pinned:
    """An XDP program whose map is pinned at *pin*, for `--map-path`."""

    def __init__(self, name: str) -> None:
        """Load the program; *name* is unique, and has no dot."""
        self.pin = stack.BPFFS / f"xdp-chaos-{os.getpid()}-{name}"
        self._programs = [libbpf.load_packet_counter()]
        self._link = -1

    @contextmanager
    def attached(self, namespace: str, interface: str) -> Iterator[None]:
        """Attach the program and pin its map; on exit detach, unpin and unload."""
        try:
            with netns.entered(namespace):
                index = socket.if_nametoindex(interface)
                self._link = bpf.link_create_xdp(self._programs[0].prog_fd, index, uapi.XDP_FLAGS_DRV_MODE)
            bpf.obj_pin(self._programs[0].map_fd, str(self.pin))
            yield
        finally:
            self.pin.unlink(missing_ok=True)
            if self._link >= 0:
                os.close(self._link)
            for program in self._programs:
                program.close()

    def reload(self) -> None:
        """Replace program and map; no frame passes uncounted."""
        new = libbpf.load_packet_counter()
        self._programs.append(new)
        bpf.link_update(self._link, new.prog_fd)
        self._repin()

    def reload_pin_first(self, meanwhile: Callable[[], None]) -> Counts:
        """Replace the pin first; return what the old map counts without a pin, while *meanwhile* runs."""
        new = libbpf.load_packet_counter()
        self._programs.append(new)
        unpinned = self.before()[-1]
        self._repin()
        meanwhile()
        bpf.link_update(self._link, new.prog_fd)
        return minus(self.before()[-1], unpinned)

    def before(self) -> list[Counts]:
        """Return the counts of each earlier map, which our file descriptors keep alive."""
        return [stack.map_counts("id", str(bpf.map_info(old.map_fd).id)) for old in self._programs[:-1]]

    def _repin(self) -> None:
        self.pin.unlink()
        bpf.obj_pin(self._programs[-1].map_fd, str(self.pin))
