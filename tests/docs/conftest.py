# SPDX-License-Identifier: Apache-2.0
"""The machine on which a document's commands are typed."""

import pytest

from tests.docs.machine import Machine


@pytest.fixture
def machine(tmp_path):
    """A machine with an idle eth0."""
    with Machine(tmp_path) as made:
        yield made
