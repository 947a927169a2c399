# SPDX-License-Identifier: Apache-2.0
"""The pod, played once for all its tests, which run in order."""

import pytest

from tests.podman import pod


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Settings that differ from a user's: test images, a scrape each second, a password file."""
    directory = tmp_path_factory.mktemp("podman")
    prometheus = directory / "prometheus.yml"
    text = (pod.ROOT / "deploy/prometheus/prometheus.yml").read_text()
    prometheus.write_text(text.replace("scrape_interval: 15s", "scrape_interval: 1s"))
    return {
        "PROMETHEUS_IMAGE": f"{pod.PREFIX}/prometheus:test",
        "GRAFANA_IMAGE": f"{pod.PREFIX}/grafana-stand-in:test",
        "XDP_OTEL_PROMETHEUS_CONFIG": str(prometheus),
        "GRAFANA_PASSWORD_FILE": str(directory / "password"),
    }


@pytest.fixture(scope="module")
def played(environment):
    """The pod, up on the test's interface; removed with its volumes at the end."""
    pod.PORTS.check()
    with pod.interface():
        try:
            pod.up(environment)
            yield environment
        finally:
            pod.down("--volumes")
