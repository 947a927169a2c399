# SPDX-License-Identifier: Apache-2.0
"""
The Grafana dashboards, written in Python: `make dashboards` makes the JSON of them.

Only needed to change a dashboard, not to use one: the JSON is in the repository.
"""
