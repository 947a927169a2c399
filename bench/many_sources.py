# SPDX-License-Identifier: Apache-2.0
"""Many sources of one entry each: interfaces that the sidecar attaches, and pinned maps."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import call_alone
from bench.measure import in_turns
from bench.place import ROOT
from bench.receiver import Receiver
from bench.sidecar_process import directory, running
from bench.table import Goal, Row, Samples, row
from bench.xdp_program import FRAMES
from demo.bpf_commands import prog_test_run
from sidecar import bpf_reader
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.kernel import libbpf, netns, pins
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface
from sidecar.sources import locate

_COUNT = 200
_CYCLES = 12
_READS = 20
_INTERVAL_S = 0.2
# The first cycles fill caches.
_WARM_UP = 4
_AGAINST = "as many reads, and one call with the same bytes"


def rows() -> Iterator[Row]:
    """Yield CPU time of a cycle and memory."""
    with _pinned(_COUNT) as places:
        specs = [{"pin": str(place), "profile": "packet-counter"} for place in places]
        yield from _rows(f"{_COUNT} pinned maps of one entry", specs, places)
    for count in (_COUNT // 2, _COUNT):
        with _interfaces(count) as (namespace, names), netns.entered(namespace):
            places = [Interface(name).map_pin for name in names]
            yield from _rows(f"{count} interfaces", [{"interface": f"{namespace}*"}], places)


def _rows(name: str, sources: Sequence[object], places: Sequence[Path]) -> Iterator[Row]:
    """Yield the rows of a configuration; *places* are the pins of the maps that it is about."""
    with directory() as place, Receiver() as receiver:
        config = Path(place) / "bench.yaml"
        config.write_text(json.dumps({"sources": sources}))
        with running(receiver, ("--config", str(config)), _INTERVAL_S) as sidecar:
            sidecar.cycles(_WARM_UP)
            ours, rss = sidecar.cycles(_CYCLES), Samples([sidecar.rss_mib()])
            alone = call_alone.taken(receiver, receiver.last_bytes, _CYCLES, _INTERVAL_S)
            reads = _reads(places)
    bare = reads.median + alone.median
    yield row(f"{name}: whole cycle", ours.per(1e-3), "ms", _AGAINST, 1e3 * bare, Goal("ratio", 1.2))
    yield row(f"{name}: as many reads", reads.per(1e-3), "ms")
    yield row(f"{name}: memory", rss, "MiB", goal=Goal("value", 60))


def _reads(places: Sequence[Path]) -> Samples:
    """Return the CPU time of reading all maps once, without looking whether they are still the same."""
    with ExitStack() as stack:
        opened = []
        for place in places:
            fd = pins.open_map(place)
            stack.callback(os.close, fd)
            info = bpf.map_info(fd)
            opened.append((fd, info, locate.schema(SourceSpec(MapRef("pin", str(place))), info)))

        def read() -> None:
            for fd, info, schema in opened:
                bpf_reader.read(fd, info, schema)

        return in_turns({"reads": read}, _READS)["reads"]


@contextmanager
def _pinned(count: int) -> Iterator[Sequence[Path]]:
    """Pin maps of the packet counter, each with some counts."""
    here = pins.BPFFS / f"bench-{uuid.uuid4().hex[:8]}"
    here.mkdir()
    with ExitStack() as stack:
        stack.callback(here.rmdir)
        for number in range(count):
            with libbpf.load_packet_counter() as program:
                prog_test_run(program.prog_fd, next(iter(FRAMES.values())), repeat=1000)
                bpf.obj_pin(program.map_fd, str(here / f"map{number}"))
                stack.callback((here / f"map{number}").unlink)
        yield [here / f"map{number}" for number in range(count)]


@contextmanager
def _interfaces(count: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Make pairs of veth in a network namespace; yield its name, with which theirs begin, and their names."""
    namespace = f"b{uuid.uuid4().hex[:6]}x"
    names = [f"{namespace}{number}" for number in range(count)]
    commands = ["link set lo up"]
    for one, other in zip(names[::2], names[1::2], strict=True):
        commands += [
            f"link add {one} type veth peer name {other}",
            f"link set {one} up",
            f"link set {other} up",
        ]
    with ExitStack() as stack:
        _run("ip", "netns", "add", namespace)
        stack.callback(_run, "ip", "netns", "delete", namespace)
        _run("ip", "-n", namespace, "-batch", "-", stdin="\n".join(commands))
        detach = (
            sys.executable,
            "-m",
            "sidecar",
            "detach",
            "--log-level",
            "warning",
            "--interface",
            f"{namespace}*",
        )
        stack.callback(_run, "nsenter", f"--net=/run/netns/{namespace}", *detach)
        yield namespace, names


def _run(*command: str, stdin: str = "") -> None:
    subprocess.run(command, cwd=ROOT, check=True, input=stdin, stdout=subprocess.DEVNULL, text=True)
