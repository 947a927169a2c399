# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from sidecar.otlp.outcome import Delivered, Nowhere


def test_nowhere_accepts_everything():
    """The counts are scraped; the delivery rule sees an acknowledgement."""
    exporter = Nowhere()
    exporter.interrupt()

    assert exporter.push(b"anything", timeout_s=1) == Delivered()
    exporter.close()


def test_a_sidecar_without_a_collector_loads_no_grpc():
    """It is most of the memory."""
    program = (
        "import sys; from sidecar import run; from sidecar.otlp.endpoint import NOWHERE, Endpoint; "
        "run._dialer(Endpoint(NOWHERE, secure=False))(); print('grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
