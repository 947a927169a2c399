# SPDX-License-Identifier: Apache-2.0
"""Render all cases once."""

import pytest

from tests.chart.chart import CASES, render


@pytest.fixture(scope="session")
def renders():
    return {case: render(*arguments) for case, arguments in CASES.items()}
