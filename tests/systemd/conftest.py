# SPDX-License-Identifier: Apache-2.0
"""One machine for all its tests, which run in order."""

import pytest

from tests.systemd import machine


@pytest.fixture(scope="module")
def pristine():
    """The booted machine; yields its files before anything was installed."""
    with machine.machine():
        yield machine.files()


@pytest.fixture(scope="module")
def installed(pristine):
    """The machine with the services installed."""
    return machine.install(machine.INTERFACE)
