# SPDX-License-Identifier: Apache-2.0
"""
Real traffic through the real path under injected faults, and a ledger of the outcome.

    packets → XDP on a veth → per-CPU map → sidecar → Collector → Prometheus (a scrape each second)

Each scenario injects one kind of fault, then compares Prometheus with the counts of the kernel.
docs/delivery.md explains why they are equal, and where they may differ by how much.
"""
