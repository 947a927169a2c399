# SPDX-License-Identifier: Apache-2.0
"""One machine for all tests of it, which run in order and only when they are asked for."""

import os

import pytest

from tests.systemd import machine


def pytest_collection_modifyitems(items):
    if os.environ.get("XDP_OTEL_TEST_SYSTEMD") == "1":
        return
    for item in items:
        if item.path.name == "test_services.py":
            item.add_marker(pytest.mark.skip(reason="needs podman and images: make test-systemd"))


@pytest.fixture(scope="module")
def pristine():
    """The machine, booted; yields the files it had before anything was installed."""
    with machine.machine():
        yield machine.files()


@pytest.fixture(scope="module")
def installed(pristine):
    """The machine with the services installed."""
    return machine.install(machine.INTERFACE)
