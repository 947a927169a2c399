# SPDX-License-Identifier: Apache-2.0
"""What the kernel is asked, and nothing above it: bpf(2), libbpf, XDP, pins, netlink, capabilities, CPUs."""
