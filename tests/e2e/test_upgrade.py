# SPDX-License-Identifier: Apache-2.0
"""Another version of the sidecar goes on with the series of the one before."""

import re
import sys

from demo.ports import Ports
from demo.prometheus import fetch
from scale import services
from tests.e2e.answers import total_packets
from tests.waiting import answered, settled

AS_VERSION = (
    "import sidecar; sidecar.__version__ = {!r}; from sidecar.cli import main; raise SystemExit(main())"
)


def test_the_counters_go_on_in_a_collector_that_stays_up(tmp_path, counter):
    """What tells versions apart must not tell series apart: there would be two with the same labels."""
    ports = Ports.free()
    collector = services.collector("collector", tmp_path, ports, ["config.yaml"], {})
    sidecar = services.sidecar(tmp_path, counter.pin, f"127.0.0.1:{ports.otlp}", "--base-point")
    arguments = sidecar.command[1:]

    def target():
        page = fetch(f"http://127.0.0.1:{ports.metrics}/metrics")
        return re.findall(r'^xdp_target_info\{.*service_version="(.*?)"', page, re.MULTILINE)

    with collector:
        for version in ("1.2.3", "1.2.4"):
            sidecar.command = [sys.executable, "-c", AS_VERSION.format(version), *arguments]
            with sidecar:
                answered(lambda version=version: target() == [version])
                before = total_packets(ports)
                answered(lambda before=before: total_packets(ports) > before)
        sidecar.start()
        counter.hold()
        truth = counter.truth["total_packets"]
        assert truth == settled(lambda: total_packets(ports), truth)
        sidecar.stop()

    assert "was collected before" not in collector.log.read_text()
