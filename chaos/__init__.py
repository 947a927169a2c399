# SPDX-License-Identifier: Apache-2.0
"""
Real traffic through the real path while parts of it fail, and a ledger of the counts.

    packets → XDP on a veth → per-CPU map → sidecar → Collector → Prometheus (a scrape each second)

Each scenario injects one kind of fault. At the end, the counts in Prometheus are compared with the kernel's;
docs/delivery.md explains why they are equal, and where they may differ and by how much.
"""
