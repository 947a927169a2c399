# SPDX-License-Identifier: Apache-2.0
"""The state directory is wiped, damaged, full, read-only, or used by a second sidecar."""

import shutil
from collections.abc import Callable
from pathlib import Path

from chaos.counters import ZERO, add, held, minus
from chaos.node import Mode, Node
from chaos.stage import Stage
from demo.processes import run
from demo.tap import Counts
from sidecar.state import journal_log

_ONE_ACKNOWLEDGEMENT_S = 1.0
"""Upper bound for the age of the last acknowledgement without faults: some cycles on a busy host."""


def journal_lost(stage: Stage) -> None:
    """Wipe the state directory while the Collector runs: nothing is counted twice."""
    nodes = [stage.node(mode.name.lower(), mode=mode) for mode in Mode]
    bounds = {node.name: dict(ZERO) for node in nodes}
    times = stage.times(3, 2)
    for _ in range(times):
        stage.wait(1.5, 2.5)
        for node in nodes:
            loss = _without_sidecar(stage, node, lambda node: shutil.rmtree(node.state))
            bounds[node.name] = add(bounds[node.name], loss)
    for node in nodes:
        bound = ZERO if node.mode is Mode.CUMULATIVE else bounds[node.name]
        wrong = []
        if node.mode is Mode.DELTA and (logged := node.log().count("the journal is lost")) != times:
            wrong.append(f"the loss was logged {logged} times, not {times}")
        stage.record(node, node.mode.value, bound=bound, note=f"wiped {times} times", problems=wrong)
    # For a Collector without state, the base point contains what the lost journal left out.
    stage.restart_collector()
    stage.record(nodes[0], "then a new Collector", whole=True)


def journal_truncated(stage: Stage) -> None:
    """Truncate the journal while no sidecar runs."""
    _damaged(stage, lambda data: data[: stage.chance.randrange(1, len(data))])


def journal_flipped(stage: Stage) -> None:
    """Flip a bit of the journal while no sidecar runs."""

    def flip(data: bytes) -> bytes:
        # In a record: a flip in the mark has the effect of an unwritten mark, and one beyond them none.
        at = stage.chance.choice([at for at in range(journal_log.BLOCK, len(data)) if data[at]])
        return data[:at] + bytes((data[at] ^ 1 << stage.chance.randrange(8),)) + data[at + 1 :]

    _damaged(stage, flip)


def _damaged(stage: Stage, damage: Callable[[bytes], bytes]) -> None:
    node = stage.node()

    def spoil(node: Node) -> None:
        journal = node.state / "journal"
        journal.write_bytes(damage(journal.read_bytes()))

    bound = dict(ZERO)
    wrong = []
    for _ in range(stage.times(2)):
        stage.wait(1.5, 2.5)
        bound = add(bound, _without_sidecar(stage, node, spoil))
        if not (node.state / "journal.damaged").exists():
            wrong.append("the damaged file was not kept")
    if "damaged" not in node.log():
        wrong.append("the damage was not logged")
    stage.record(node, bound=bound, problems=wrong)
    stage.restart_collector()
    stage.record(node, "then a new Collector", whole=True)


def _without_sidecar(stage: Stage, node: Node, spoil: Callable[[Node], None]) -> Counts:
    """Kill the sidecar, call *spoil*, start it; return the kernel's counts since the last acknowledgement."""
    acknowledged = node.kernel()
    stage.wait(_ONE_ACKNOWLEDGEMENT_S)
    node.sidecar.kill()
    spoil(node)
    cycles = node.cycles()
    node.sidecar.start()
    stage.until(lambda: node.cycles() > cycles, 10)
    return minus(node.kernel(), acknowledged)


def disk_full(stage: Stage) -> None:
    """Fill the disk of the state directory, and free it again."""
    node = stage.node(prepare=_tmpfs(stage))

    def fill(node: Node) -> Callable[[], None]:
        filler = node.state / "filler"
        # A record that fits into the file needs no room on the disk.
        (node.state / "journal").unlink(missing_ok=True)
        for _ in range(3):  # also fill what the sidecar frees in between
            with filler.open("ab", buffering=0) as file:
                _until_full(lambda: file.write(bytes(4096)))
                _until_full(lambda: file.write(b"\0"))
        return filler.unlink

    _unwritable(stage, node, fill, "ENOSPC")


def read_only(stage: Stage) -> None:
    """Make the state directory read-only, then writable again."""
    node = stage.node()

    def protect(node: Node) -> Callable[[], None]:
        # A mount on top, because a file system cannot become read-only while the journal is open.
        run("mount", "-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", str(node.state))
        release = stage.cleanup.enter_context(_Unmount(node.state))
        return release.now

    _unwritable(stage, node, protect, "EROFS")


class _Unmount:
    """Unmounts once, by `now` or at the end."""

    def __init__(self, place: Path) -> None:
        self._place: Path | None = place

    def now(self) -> None:
        if self._place is not None:
            run("umount", "--lazy", str(self._place))
            self._place = None

    def __enter__(self) -> "_Unmount":
        return self

    def __exit__(self, *_: object) -> None:
        self.now()


def _tmpfs(stage: Stage) -> Callable[[Node], None]:
    def mount(node: Node) -> None:
        node.state.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=640k,mode=700", "tmpfs", str(node.state))
        stage.cleanup.enter_context(_Unmount(node.state))

    return mount


def _until_full(write: Callable[[], object]) -> None:
    try:
        while True:
            write()
    except OSError:
        pass


def _unwritable(stage: Stage, node: Node, harm: Callable[[Node], Callable[[], None]], error: str) -> None:
    """Nothing is sent that is not journaled; counting continues; after the repair nothing is missing."""
    wrong = []
    for _ in range(stage.times(2)):
        stage.wait(1.5)
        instance = node.instance
        repair = harm(node)
        stage.wait(1.0)  # what was journaled before may still be sent
        before = held(stage.ports, instance)
        stage.wait(stage.seconds(3.0, 1.5))
        sent = minus(held(stage.ports, instance), before)["total_packets"]
        repair()
        if sent:
            wrong.append(f"{sent} packets were sent without a journal")
    node.sidecar.check()
    if f"write journal {node.state / 'journal'}: {error}" not in node.log():
        wrong.append(f"{error} was not logged")
    stage.record(node, problems=wrong)


def second_writer(stage: Stage) -> None:
    """Start a second sidecar on the same state directory: it exits with 6."""
    node = stage.node()
    wrong = []
    for _ in range(2):
        stage.wait(0.5)
        code, output = node.run_second()
        if code != 6 or "in use by process" not in output:
            wrong.append(f"the second sidecar exited with {code}: {output}")
    stage.record(node, note="exit 6", problems=wrong)
