# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel run`: build the parts from the configuration and run the pipeline until a signal."""

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
from sidecar.describe.spec import MapRef
from sidecar.errors import each, placed
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.model import Attribute
from sidecar.observe.otlp import encode_telemetry
from sidecar.observe.server import StatusServer
from sidecar.observe.telemetry import Telemetry
from sidecar.otlp.endpoint import NOWHERE, Endpoint
from sidecar.otlp.outcome import Delivered, Exporter, Nowhere
from sidecar.otlp.resource import keep_instance_id, resource_attributes
from sidecar.pipeline import Pipeline
from sidecar.sources import locate, privileges
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source, boot_id
from sidecar.state.journal import Journal
from sidecar.state.retention import Retention, living_maps

log = logging.getLogger(__name__)

# Lost self-metrics are cumulative, so the next ones replace them: not worth a longer wait.
_SELF_METRICS_TIMEOUT_S = 0.5


def run(config: Config) -> None:
    """
    Read and send until SIGTERM or SIGINT, or for one cycle with `--once`.

    Raises:
        SidecarError: Something cannot be used, which is found before the first cycle; or `--once` failed.

    """
    locks = [_lock(spec.map_ref) for spec in config.sources]
    sources = [locate.source(spec, lock) for spec, lock in zip(config.sources, locks, strict=True)]
    telemetry = Telemetry()
    with ExitStack() as cleanup:
        dial = _dialer(config.endpoint)
        with placed(config.state_dir_variable):
            journal = Journal(config.state_dir)
        cleanup.callback(journal.close)
        each(lambda pair: _open(*pair, cleanup), zip(sources, locks, strict=True))
        tell_apart(sources)
        telemetry.maps = lambda: {source.name: _map_info(source) for source in sources}
        # Maps can be listed only before the privileges are dropped.
        journal.retain = Retention({source.name for source in sources}, boot_id(), living_maps()).retain
        _drop_privileges(config, sources)
        pusher = dial()
        cleanup.callback(pusher.close)
        _log_endpoint(config)
        resource = resource_attributes(config.state_dir)
        journal.on_recreated = partial(keep_instance_id, config.state_dir, resource)
        pipeline = _pipeline(config, sources, journal, pusher, resource, telemetry)
        if config.status:
            cleanup.callback(_serve_status(config, config.status, telemetry, resource))
        if config.once:
            pipeline.once()
        else:
            pipeline.run(config.interval_s)
            log.info("stopped; the kernel keeps counting")


def _dialer(endpoint: Endpoint) -> Callable[[], Exporter]:
    if endpoint.target == NOWHERE:
        return Nowhere
    # Most of the memory, so only for a Collector; and before the privileges to read the files are dropped.
    from sidecar.otlp.certificates import CertificateFiles  # noqa: PLC0415
    from sidecar.otlp_push import Pusher  # noqa: PLC0415

    if endpoint.secure:
        CertificateFiles(endpoint).load()
    return partial(Pusher, endpoint)


def _lock(map_ref: MapRef) -> InterfaceLock | None:
    interface = locate.interface_of(map_ref)
    return InterfaceLock(interface) if interface else None


def _open(source: Source, lock: InterfaceLock | None, cleanup: ExitStack) -> None:
    if lock:
        cleanup.callback(lock.close)
    source.open()
    cleanup.callback(source.close)
    name, map_id, map_type = _map_info(source)
    log.info("%s: map %s, id %s, %s", source.name, name, map_id, map_type)


def _map_info(source: Source) -> tuple[str, int, str]:
    """Return name, id and type of the map that a source reads now."""
    return source.info.name, source.info.id, source.info.kind.name


def _drop_privileges(config: Config, sources: Sequence[Source]) -> None:
    """Keep only the capabilities that are still needed, before any thread starts that would keep all."""
    opened = [(spec, source.info) for spec, source in zip(config.sources, sources, strict=True)]
    port = config.status[1] if config.status else None
    privileges.drop(opened, config.state_dir, port, config.endpoint.files)


def _log_endpoint(config: Config) -> None:
    transport = "TLS" if config.endpoint.secure else "plaintext"
    log.info(
        "endpoint %s (%s), %s, every %g s",
        config.endpoint.target,
        transport,
        config.temporality.value,
        config.interval_s,
    )


def _pipeline(
    config: Config,
    sources: Sequence[Source],
    journal: Journal,
    pusher: Exporter,
    resource: Sequence[Attribute],
    telemetry: Telemetry,
) -> Pipeline:
    clock = _stoppable_clock(pusher)
    delivery = Delivery(journal, pusher, clock, config.temporality, telemetry)
    after_delivery = _self_metrics(pusher, resource, telemetry) if config.self_metrics else lambda: None
    return Pipeline(sources, resource, config.temporality, delivery, clock, telemetry, after_delivery)


def _self_metrics(
    pusher: Exporter, resource: Sequence[Attribute], telemetry: Telemetry
) -> Callable[[], None]:
    start_ns = time.time_ns()

    def send() -> None:
        request = encode_telemetry(resource, telemetry.families(), start_ns, time.time_ns())
        outcome = pusher.push(request, timeout_s=_SELF_METRICS_TIMEOUT_S)
        if not isinstance(outcome, Delivered):
            log.debug("cannot send the sidecar's own metrics (%s: %s)", outcome.code, outcome.message)

    return send


def _serve_status(
    config: Config, address: tuple[str, int], telemetry: Telemetry, resource: Sequence[Attribute]
) -> Callable[[], None]:
    # A cycle may take its interval and, if the Collector never responds, two deadlines.
    patience_s = 3 * config.interval_s + 2 * config.endpoint.timeout_s
    server = StatusServer(*address, telemetry, patience_s, resource)
    log.info("status at http://%s:%d/metrics", address[0] or "localhost", server.port)
    return server.close


class _Clock:
    """The process's monotonic clock; a signal handler may call `stop` at any moment to end its waits."""

    def __init__(self) -> None:
        # Not a threading.Event: the wait that the handler interrupts may hold its lock.
        stopped, self._stop = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Not select(2), which takes no descriptor from 1024 on: each map has one.
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
