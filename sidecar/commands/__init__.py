# SPDX-License-Identifier: Apache-2.0
"""The commands of `xdp-otel`: their flags, and what they print."""
