# SPDX-License-Identifier: Apache-2.0
"""Where in bpffs our pins lie."""

from pathlib import Path

BPFFS = Path("/sys/fs/bpf")
PIN_ROOT = BPFFS / "xdp-otel"
