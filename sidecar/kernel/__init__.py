# SPDX-License-Identifier: Apache-2.0
"""The interfaces of the kernel: bpf(2), libbpf, XDP, pins, netlink, capabilities, namespaces, CPUs."""
