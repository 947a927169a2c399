# SPDX-License-Identifier: Apache-2.0
"""The sidecar sends totals by OTLP/HTTP to Prometheus itself, as in deploy/without-collector."""

from chaos.counters import by_otlp
from chaos.node import Mode
from chaos.stage import Stage
from demo.ports import Ports
from scale import services


def no_collector(stage: Stage) -> None:
    """Kill, stop and restart the sidecar and the Prometheus that it sends to by OTLP/HTTP."""
    ports = Ports.free()
    receiver = services.otlp_prometheus(stage.directory, ports)
    stage.cleanup.enter_context(receiver)
    node = stage.node(
        mode=Mode.CUMULATIVE,
        endpoint=f"http://127.0.0.1:{ports.prometheus}/api/v1/otlp",
        store=by_otlp(ports),
        environment={"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"},
    )
    done = []
    for _ in range(stage.times(12, 4)):
        stage.wait(0.3, 2.0)
        fault = stage.chance.choice(("store killed", "store stopped", "sidecar killed", "both killed"))
        done.append(fault)
        if fault == "store stopped":
            receiver.stop()
        elif fault != "sidecar killed":
            receiver.kill()
        if fault in ("sidecar killed", "both killed"):
            node.sidecar.kill()
            node.sidecar.launch()
        stage.wait(0.0, 1.5)
        if fault != "sidecar killed":
            receiver.start()
    stage.record(node, node.mode.value, note=", ".join(done))
