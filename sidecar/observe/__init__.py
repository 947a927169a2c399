# SPDX-License-Identifier: Apache-2.0
"""What the sidecar tells of itself: its metrics, its status endpoint and its log."""
