# SPDX-License-Identifier: Apache-2.0
"""
Many nodes and a few gateways: the streams of thousands of agents, through real gateways into a real store.

`python -m scale` (`make scale`) measures what a gateway and the store need per node.
"""
