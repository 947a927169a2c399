# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel discover`: which XDP programs and maps there are, and a configuration to read one."""
