# SPDX-License-Identifier: Apache-2.0
"""How the sidecar is observed: its own metrics, the status endpoint and the log."""
