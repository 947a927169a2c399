# SPDX-License-Identifier: Apache-2.0
"""The commands that a user types, their flags and what they print."""
