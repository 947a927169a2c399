# SPDX-License-Identifier: Apache-2.0
"""The Collector answers, and the answer is no."""

from collections.abc import Sequence

from grpc import StatusCode

from chaos.counters import ZERO, minus
from chaos.node import Mode, Node
from chaos.refuser import PASS, Answer, Refuser
from chaos.stage import Stage

DEFINITE = (
    Answer(StatusCode.UNAVAILABLE),  # also the memory limit, and a full queue
    Answer(StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.2),
    Answer(StatusCode.RESOURCE_EXHAUSTED),
    Answer(StatusCode.DEADLINE_EXCEEDED),
    Answer(StatusCode.CANCELLED),
    Answer(StatusCode.ABORTED),
    Answer(StatusCode.OUT_OF_RANGE),
    Answer(StatusCode.DATA_LOSS),
    Answer(StatusCode.INVALID_ARGUMENT),
    Answer(StatusCode.UNIMPLEMENTED),
    Answer(StatusCode.UNAUTHENTICATED),
    Answer(StatusCode.PERMISSION_DENIED),
    Answer(StatusCode.UNAVAILABLE, counted=True),
    Answer(StatusCode.DEADLINE_EXCEEDED, counted=True),
    Answer(StatusCode.RESOURCE_EXHAUSTED, counted=True, retry_after_s=0.2),
)
"""Nothing was counted, or the same bytes are sent again, and known."""

IN_DOUBT = (
    (Answer(StatusCode.UNKNOWN, final=True),),
    (Answer(StatusCode.INTERNAL, final=True),),
    (Answer(StatusCode.UNKNOWN, counted=True),),
    (Answer(StatusCode.UNAVAILABLE), Answer(StatusCode.INVALID_ARGUMENT, final=True)),
    (Answer(StatusCode.UNAVAILABLE, counted=True), Answer(StatusCode.INVALID_ARGUMENT)),
)
"""The batch is given up, counted or not (ADR 3)."""

PARTIAL = ((Answer(StatusCode.OK, rejected=9, final=True),),)
"""Nothing of it was counted, and it must not be sent again."""

LOCKED_OUT = (*[Answer(StatusCode.UNAVAILABLE, counted=True)], *[Answer(StatusCode.UNAUTHENTICATED)] * 2)
"""A batch in doubt waits until we are let in again."""


def refusals(stage: Stage) -> None:
    """Refuse with every status code, before and after counting; RetryInfo; partial success."""
    nodes = [_refused(stage, mode) for mode in Mode]
    definite = list(DEFINITE)
    stage.chance.shuffle(definite)
    some = [(answer,) for answer in definite[: stage.times(len(definite), 3)]]
    _each(stage, nodes, "definite", [*some, LOCKED_OUT])
    _each(stage, nodes, "in doubt", IN_DOUBT)
    _each(stage, nodes, "partial success", PARTIAL)


def _refused(stage: Stage, mode: Mode) -> tuple[Node, Refuser]:
    refuser = Refuser(stage.ports.otlp)
    stage.cleanup.callback(refuser.close)
    return stage.node(mode.name.lower(), mode=mode, endpoint=refuser.port), refuser


def _each(
    stage: Stage,
    nodes: list[tuple[Node, Refuser]],
    about: str,
    answers: Sequence[tuple[Answer, ...]],
) -> None:
    """Let every node meet all *answers*; what was refused for good may be missing, but not in totals."""
    before = [refuser.lost for _, refuser in nodes]
    for node, refuser in nodes:
        node.send()
        # Between two refusals a batch passes, so that each meets a batch of its own and the first backoff.
        refuser.script.extend(answer for group in answers for answer in (PASS, PASS, *group))
    met = stage.until(lambda: not any(refuser.script for _, refuser in nodes), 90)
    unanswered = [] if met else ["not all were met"]
    stage.wait(1.0)
    for (node, refuser), was in zip(nodes, before, strict=True):
        bound = minus(refuser.lost, was) if node.mode is not Mode.CUMULATIVE else ZERO
        note = f"{len(answers)} kinds"
        stage.record(node, f"{about}, {node.mode.value}", bound=bound, note=note, problems=unanswered)
