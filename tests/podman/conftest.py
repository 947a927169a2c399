# SPDX-License-Identifier: Apache-2.0
"""The pod is played once for all tests of it, which run in order and only when they are asked for."""

import os

import pytest

from tests.podman import pod


def pytest_collection_modifyitems(items):
    if os.environ.get("XDP_OTEL_TEST_PODMAN") == "1":
        return
    for item in items:
        if item.path.name == "test_podman.py":
            item.add_marker(pytest.mark.skip(reason="needs podman and images: make test-podman"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What differs from a user's: test images, a scrape each second, a password file of our own."""
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
    """The pod, up on the test's interface; down, with its volumes, in the end."""
    pod.PORTS.check()
    with pod.interface():
        try:
            pod.up(environment)
            yield environment
        finally:
            pod.down("--volumes")
