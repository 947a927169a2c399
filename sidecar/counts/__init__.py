# SPDX-License-Identifier: Apache-2.0
"""From readings to what was counted: cells, resets, windows and series; no clock, file or socket."""
