# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

from sidecar.otlp.outcome import Delivered, Nowhere


def test_nowhere_accepts_everything():
    """The counts are scraped; the delivery rule sees an acknowledgement."""
    exporter = Nowhere()
    exporter.interrupt()

    assert exporter.push(b"anything", timeout_s=1) == Delivered()
    exporter.close()


@pytest.mark.parametrize("endpoint", ["NOWHERE, secure=False", "'localhost:4318', False, path='/v1/metrics'"])
def test_a_sidecar_without_grpc_does_not_load_it(endpoint):
    """It is most of the memory."""
    program = (
        "import sys; from sidecar import exporter, run; from sidecar.otlp.endpoint import NOWHERE, Endpoint; "
        f"exporter.dialer(Endpoint({endpoint}))(); print('grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
