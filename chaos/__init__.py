# SPDX-License-Identifier: Apache-2.0
"""
Real traffic through the real path while things break, and a ledger of what came of it.

    packets → XDP on a veth → per-CPU map → sidecar → Collector → Prometheus (a scrape each second)

Each scenario injects one kind of fault. In the end what Prometheus shows is held against what the kernel
counted; docs/delivery.md says why they are equal, and where they may differ by how much.
"""
