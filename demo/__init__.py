# SPDX-License-Identifier: Apache-2.0
"""
The demo: known traffic over a veth pair, and a table that compares truth, kernel and Prometheus.

`python -m demo` runs it; `demo.stack` starts and stops the parts for the end-to-end tests too.
"""
