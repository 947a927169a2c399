# SPDX-License-Identifier: Apache-2.0
"""The Collector or a hop before it refuses, or sends an invalid response."""

from collections.abc import Callable, Mapping, Sequence

from grpc import StatusCode

from chaos.backend import Backend
from chaos.counters import ZERO, add, held, minus
from chaos.http2 import OK_HEADERS, Server, Stream
from chaos.node import Mode, Node
from chaos.refuser import PASS, Answer, Refuser, deltas
from chaos.stage import Stage

REFUSALS = (
    (Answer(StatusCode.UNAVAILABLE),),  # also the memory limit, and a full queue
    (Answer(StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.2),),
    (Answer(StatusCode.RESOURCE_EXHAUSTED),),
    (Answer(StatusCode.DEADLINE_EXCEEDED),),
    (Answer(StatusCode.CANCELLED),),
    (Answer(StatusCode.ABORTED),),
    (Answer(StatusCode.OUT_OF_RANGE),),
    (Answer(StatusCode.DATA_LOSS),),
    (Answer(StatusCode.INVALID_ARGUMENT),),
    (Answer(StatusCode.UNIMPLEMENTED),),
    (Answer(StatusCode.UNAUTHENTICATED),),
    (Answer(StatusCode.PERMISSION_DENIED),),
    (Answer(StatusCode.UNKNOWN),),
    (Answer(StatusCode.INTERNAL),),
    (Answer(StatusCode.UNAVAILABLE, counted=True),),
    (Answer(StatusCode.DEADLINE_EXCEEDED, counted=True),),
    (Answer(StatusCode.RESOURCE_EXHAUSTED, counted=True, retry_after_s=0.2),),
    (Answer(StatusCode.RESOURCE_EXHAUSTED, counted=True),),
    (Answer(StatusCode.INVALID_ARGUMENT, counted=True),),
    (Answer(StatusCode.UNAUTHENTICATED, counted=True),),
    (Answer(StatusCode.UNIMPLEMENTED, counted=True),),
    (Answer(StatusCode.UNKNOWN, counted=True),),
    (Answer(StatusCode.UNAVAILABLE), Answer(StatusCode.INVALID_ARGUMENT)),
    (Answer(StatusCode.UNAVAILABLE, counted=True), Answer(StatusCode.INVALID_ARGUMENT)),
    (Answer(StatusCode.UNAVAILABLE, counted=True), *[Answer(StatusCode.UNAUTHENTICATED)] * 2),
)
"""Before and after counting: by the mode (ADR 3), the batch is retried or given up."""

PARTIAL = ((Answer(StatusCode.OK, rejected=9),),)
"""Nothing is counted, and the request must not be retried."""

OVERSIZE = (
    (Answer(StatusCode.OK, counted=True, padding=5 << 20),),
    (Answer(StatusCode.OK, counted=True, chatter=20_000),),
    (Answer(StatusCode.INVALID_ARGUMENT, counted=True, chatter=20_000),),
)
"""The Collector has counted, and its response is too large for gRPC, which substitutes an error."""


def _page(stream: Stream) -> None:
    stream.headers((":status", "200"), ("content-type", "text/html"))
    stream.data(b"<html>welcome</html>", end=True)


FOUL: Mapping[str, Callable[[Stream], None]] = {
    "HTTP 500": lambda stream: stream.headers((":status", "500"), end=True),
    "an HTML page": _page,
    "RST_STREAM(2)": lambda stream: stream.reset(2),
    "RST_STREAM(11)": lambda stream: stream.reset(11),
    "OK without a message": lambda stream: stream.headers(*OK_HEADERS, ("grpc-status", "0"), end=True),
}
"""A hop's own response to each request during an outage."""

# After counting; the last one is retryable.
_STATUSES = (400, 401, 404, 413, 500, 503)


def refusals(stage: Stage) -> None:
    """Refuse with every status code, before and after counting, with RetryInfo; partial success."""
    nodes = [_refused(stage, mode) for mode in Mode]
    groups = list(REFUSALS)
    stage.chance.shuffle(groups)
    _each(stage, nodes, "refused", groups[: stage.times(len(groups), 5)], lossy=(Mode.DELTA,))
    _each(stage, nodes, "partial success", PARTIAL, lossy=(Mode.DELTA, Mode.BASE))


def oversize_answers(stage: Stage) -> None:
    """Count, and respond with a message over 4 MiB or trailers over 16 KiB."""
    nodes = [_refused(stage, mode) for mode in Mode]
    _each(stage, nodes, "", OVERSIZE * stage.times(4), lossy=())


def fan_out(stage: Stage) -> None:
    """Give the Collector a second exporter that refuses after the first has counted."""
    backend = Backend()
    stage.cleanup.callback(backend.close)
    more = [part for override in backend.overrides for part in ("--config", f"yaml:{override}")]
    stage.collector.command = [*stage.collector.command, *more]
    stage.restart_collector()
    nodes = [stage.node(mode.name.lower(), mode=mode) for mode in Mode]
    statuses = list(_STATUSES)
    stage.chance.shuffle(statuses)
    statuses = statuses[: stage.times(len(statuses), 3)]
    for status in statuses:
        stage.wait(0.5, 1.5)
        before, backend.status = backend.requests, status
        met = stage.until(lambda before=before: backend.requests >= before + 2 * len(nodes), 30)  # type: ignore[misc]
        backend.status = 200
    wrong = [] if met else ["not all refusals took place"]
    for node in nodes:
        stage.record(node, node.mode.value, note=" ".join(map(str, statuses)), problems=wrong)


def hop_500(stage: Stage) -> None:
    """Let a hop respond with HTTP 500 and the like for a while: each time costs at most one batch."""
    hops = [_Hop(stage, mode) for mode in Mode]
    kinds = list(FOUL)
    stage.chance.shuffle(kinds)
    kinds = kinds[: stage.times(len(kinds), 2)]
    for kind in kinds:
        stage.wait(1.0, 2.0)
        for hop in hops:
            hop.turn_foul(FOUL[kind])
        stage.wait(stage.seconds(5.0, 3.0))
        for hop in hops:
            hop.turn_fair()
        # Wait for each node's next attempt, so that each kind is a separate outage.
        stage.until(lambda: all(hop.has_passed() for hop in hops), 30)
    for hop in hops:
        bound = hop.at_stake if hop.node.mode is Mode.DELTA else ZERO
        wrong = [] if hop.answered > len(kinds) else ["the hop received no request"]
        note = f"{', '.join(kinds)}: {hop.answered} responses"
        stage.record(hop.node, hop.node.mode.value, bound=bound, note=note, problems=wrong)


class _Hop:
    """
    A node and the hop in front of its Collector.

    Attributes:
        at_stake: The sum of the first batch of each outage.
        answered: The number of requests that the hop answered itself.

    """

    def __init__(self, stage: Stage, mode: Mode) -> None:
        self.at_stake = dict(ZERO)
        self.answered = 0
        self._is_first = True
        self._respond = FOUL["HTTP 500"]
        self._fair = stage.ports
        self._proxy = stage.proxy()
        self._server = Server(self._answer)
        stage.cleanup.callback(self._server.close)
        self.node = stage.node(mode.name.lower(), mode=mode, endpoint=self._proxy.port)
        self._held = dict(ZERO)

    def turn_foul(self, says: Callable[[Stream], None]) -> None:
        """Answer each request itself from now on."""
        self._says, self._is_first = says, True
        self._proxy.target = self._server.port

    def turn_fair(self) -> None:
        """Forward again."""
        self._held = held(self._fair, self.node.instance)
        self._proxy.target = self._fair.otlp

    def has_passed(self) -> bool:
        """Whether counts have arrived since `turn_fair`."""
        now = held(self._fair, self.node.instance)
        return now["total_packets"] > self._held["total_packets"]

    def _answer(self, stream: Stream, message: bytes) -> None:
        self.answered += 1
        if self._is_first:
            self.at_stake, self._is_first = add(self.at_stake, deltas(message)), False
        self._respond(stream)


def _refused(stage: Stage, mode: Mode) -> tuple[Node, Refuser]:
    refuser = Refuser(stage.ports.otlp)
    stage.cleanup.callback(refuser.close)
    return stage.node(mode.name.lower(), mode=mode, endpoint=refuser.port), refuser


def _each(
    stage: Stage,
    nodes: list[tuple[Node, Refuser]],
    about: str,
    answers: Sequence[tuple[Answer, ...]],
    *,
    lossy: tuple[Mode, ...],
) -> None:
    """Give every node all *answers*; in *lossy* modes, batches with a final refusal may be missing."""
    before = [refuser.lost for _, refuser in nodes]
    for node, refuser in nodes:
        node.send()
        # Two batches pass between refusals, so that each refusal hits a new batch with the initial backoff.
        refuser.script.extend(answer for group in answers for answer in (PASS, PASS, *group))
    met = stage.until(lambda: not any(refuser.script for _, refuser in nodes), 150)
    unanswered = [] if met else ["not all refusals took place"]
    stage.wait(1.0)
    for (node, refuser), was in zip(nodes, before, strict=True):
        bound = minus(refuser.lost, was) if node.mode in lossy else ZERO
        title = f"{about}, {node.mode.value}" if about else node.mode.value
        stage.record(node, title, bound=bound, note=f"{len(answers)} kinds", problems=unanswered)
