# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel run`: put the parts together and let the pipeline run until a signal."""

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from sidecar.config import Config
from sidecar.delivery import Delivery
from sidecar.describe.spec import Place
from sidecar.kernel.interface import Interface
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.kernel.uapi import MAP_TYPE_NAMES
from sidecar.model import Attribute
from sidecar.observe.otlp import encode_telemetry
from sidecar.observe.server import StatusServer
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp.endpoint import NOWHERE, Endpoint
from sidecar.otlp.outcome import Delivered, Exporter, Nowhere
from sidecar.otlp.resource import keep_instance_id, resource_attributes
from sidecar.pipeline import Pipeline
from sidecar.sources import locate, privileges
from sidecar.sources.source import boot_id, tell_apart
from sidecar.state.journal import Journal
from sidecar.state.retention import Retention, living_maps

log = logging.getLogger(__name__)

# Not worth a wait: they come again.
SELF_METRICS_TIMEOUT_S = 0.5


def run(config: Config) -> None:
    """
    Read and send until SIGTERM or SIGINT, or once; raise SidecarError for what cannot be.

    Everything that can be wrong is found out before the first cycle.
    """
    locks = [_lock(spec.place) for spec in config.sources]
    sources = [locate.source(spec, lock) for spec, lock in zip(config.sources, locks, strict=True)]
    telemetry = Telemetry()
    with ExitStack() as stack:
        dial = _dialer(config.endpoint)
        journal = Journal(config.state_dir)
        stack.callback(journal.close)
        for lock, source in zip(locks, sources, strict=True):
            if lock:
                stack.callback(lock.close)
            info = source.open()
            stack.callback(source.close)
            log.info("%s: map %s, id %d, %s", source.name, info.name, info.id, MAP_TYPE_NAMES[info.type])
        tell_apart(sources)
        telemetry.maps = lambda: {
            source.name: (source.info.name, source.info.id, MAP_TYPE_NAMES[source.info.type])
            for source in sources
        }
        # While maps may still be listed.
        names = {source.name for source in sources}
        journal.of_use = Retention(names, boot_id(), living_maps()).kept
        # Before the first thread, which would keep all: gRPC and the status endpoint have some.
        opened = [(spec, source.info) for spec, source in zip(config.sources, sources, strict=True)]
        port = config.status[1] if config.status else None
        privileges.give_up(opened, config.state_dir, port, config.endpoint.files)
        pusher = dial()
        stack.callback(pusher.close)
        how = "TLS" if config.endpoint.secure else "plaintext"
        log.info(
            "endpoint %s (%s), %s, every %g s",
            config.endpoint.target,
            how,
            config.temporality.value,
            config.interval_s,
        )
        resource = resource_attributes(config.state_dir)
        journal.made_again = partial(keep_instance_id, config.state_dir, resource)
        clock = _stoppable_clock(pusher)
        delivery = Delivery(journal, pusher, clock, config.temporality, telemetry)
        pipeline = Pipeline(
            sources,
            resource,
            config.temporality,
            delivery,
            clock,
            telemetry,
            _self_metrics(pusher, resource, telemetry) if config.self_metrics else lambda: None,
        )
        if config.status:
            stack.callback(_serve_status(config, config.status, telemetry, resource))
        if config.once:
            pipeline.once()
        else:
            pipeline.run(config.interval_s)
            log.info("stopped; the kernel goes on counting")


def _dialer(endpoint: Endpoint) -> Callable[[], Exporter]:
    if endpoint.target == NOWHERE:
        return Nowhere
    # Most of the memory, so only where a Collector is; and while all files may still be read.
    from sidecar.otlp.certificates import CertificateFiles  # noqa: PLC0415
    from sidecar.otlp_push import Pusher  # noqa: PLC0415

    if endpoint.secure:
        CertificateFiles(endpoint).load()
    return partial(Pusher, endpoint)


def _lock(place: Place) -> InterfaceLock | None:
    return InterfaceLock(Interface(place.value, place.netns)) if place.kind == "interface" else None


def _self_metrics(
    pusher: Exporter, resource: Sequence[Attribute], telemetry: Telemetry
) -> Callable[[], None]:
    start_ns = time.time_ns()

    def send() -> None:
        request = encode_telemetry(resource, telemetry.families(), start_ns, time.time_ns())
        outcome = pusher.push(request, timeout_s=SELF_METRICS_TIMEOUT_S)
        if not isinstance(outcome, Delivered):
            log.debug("own metrics not taken (%s: %s)", outcome.code, outcome.message)

    return send


def _serve_status(
    config: Config, address: tuple[str, int], telemetry: Telemetry, resource: Sequence[Attribute]
) -> Callable[[], None]:
    # A cycle may take its interval and, if the Collector swallows calls, two deadlines.
    patience_s = 3 * config.interval_s + 2 * config.endpoint.timeout_s
    server = StatusServer(*address, telemetry, patience_s, resource)
    log.info("status at http://%s:%d/metrics", address[0] or "localhost", server.port)
    return server.close


class _Clock:
    """The process's clock; `stop`, which a signal handler may call at any moment, ends its waits."""

    def __init__(self) -> None:
        # Not an Event: its lock may be held by the very wait that the handler interrupts.
        stopped, self._stop = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Not select(2), which knows no descriptor from 1024 on: each map has one.
        self._stopped = select.poll()
        self._stopped.register(stopped, select.POLLIN)

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return bool(self._stopped.poll(1000 * seconds))

    def stop(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._stop, b"\0")


def _stoppable_clock(pusher: Exporter) -> _Clock:
    clock = _Clock()

    def stop(_number: int, _frame: object) -> None:
        clock.stop()
        pusher.interrupt()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return clock
