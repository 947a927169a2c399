# SPDX-License-Identifier: Apache-2.0
"""The commands that look at maps, and what they share."""
