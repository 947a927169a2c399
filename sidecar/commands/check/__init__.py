# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel check`: whether `run` would work with the same flags, one line for each thing that it needs."""
