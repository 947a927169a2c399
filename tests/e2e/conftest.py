# SPDX-License-Identifier: Apache-2.0
"""A map with known counts for the end-to-end tests."""

import uuid
from pathlib import Path

import pytest

from scale.counts import Counter


@pytest.fixture
def counter():
    """A pinned map that keeps counting until it is held."""
    with Counter(Path("/sys/fs/bpf") / f"test-{uuid.uuid4().hex[:12]}") as counting:
        yield counting
