# SPDX-License-Identifier: Apache-2.0
"""Exact XDP packet counts, from BPF maps to OpenTelemetry."""

__version__ = "0.1.0"
