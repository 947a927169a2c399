# SPDX-License-Identifier: Apache-2.0
"""
The Grafana dashboards, written in Python: `make dashboards` makes the JSON of them.

Needed by those who change a dashboard, not by those who use one: the JSON is in the repository.
"""
