# SPDX-License-Identifier: Apache-2.0
"""What users do to interfaces."""

import subprocess


def ip(*arguments):
    """Change something, or raise CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True)


def rename(name, other):
    """Rename an interface that is up; before Linux 6.2 it has to go down in between."""
    at_once = subprocess.run(["ip", "link", "set", name, "name", other], check=False, stderr=subprocess.PIPE)
    if at_once.returncode:
        ip("link", "set", name, "down")
        ip("link", "set", name, "name", other)
        ip("link", "set", other, "up")
