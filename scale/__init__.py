# SPDX-License-Identifier: Apache-2.0
"""
Many nodes and a few gateways: agents' streams by the thousand, through real gateways into a real store.

`python -m scale` (`make scale`) measures what a gateway and the store need for each node.
"""
