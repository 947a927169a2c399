# SPDX-License-Identifier: Apache-2.0
"""The file SHA256SUMS, which `sha256sum --check` reads."""

import hashlib
from pathlib import Path

NAME = "SHA256SUMS"


def write(dist: Path) -> None:
    """Write the checksum of each file of *dist* next to it."""
    files = sorted(path for path in dist.iterdir() if path.name != NAME)
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (dist / NAME).write_text("".join(lines))
