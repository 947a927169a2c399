# SPDX-License-Identifier: Apache-2.0
"""From readings to counts: cells, resets, windows and series; no clock, file or socket."""
