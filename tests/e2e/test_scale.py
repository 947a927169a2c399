# SPDX-License-Identifier: Apache-2.0
"""A small run of `make scale`."""

import pytest

from scale.measure import Load, measure


@pytest.mark.parametrize("tls", [False, True])
def test_simulated_nodes_arrive(tmp_path, tls):
    """All counts of simulated nodes arrive through two gateways, which share the connections equally."""
    result = measure(tmp_path / "run", Load(nodes=40, gateways=2, interval_s=1, interfaces=2, tls=tls), 3)

    assert result.exact
    assert (result.failed, result.connections) == (0, 20)
    # Nine for each interface, and target_info.
    assert 40 * (2 * 9 + 1) == result.series
    assert result.gateway_cores > 0
    assert result.sent_bytes > 100
