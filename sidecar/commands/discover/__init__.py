# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel discover`: list XDP programs and maps, and write a configuration for a map."""
