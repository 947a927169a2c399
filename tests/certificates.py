# SPDX-License-Identifier: Apache-2.0
"""Certificates of one's own authority, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority and the directory of its certificates."""

    directory: Path

    @property
    def ca(self):
        return self.directory / "ca.pem"

    def issue(self, name, *, days=2, host="localhost"):
        """Issue a certificate for server and client use; return the paths of certificate and key."""
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        request = self.directory / f"{name}.csr"
        subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{host}")
        openssl("req", "-new", *_NEW_KEY, "-keyout", key, "-out", request, *subject)
        signed = ("-CA", self.ca, "-CAkey", self.directory / "ca.key", "-copy_extensions", "copyall")
        openssl("x509", "-req", "-in", request, "-out", certificate, "-days", days, *signed)
        return certificate, key


_NEW_KEY = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def authority(directory, name):
    """Make an authority in a directory of its own below *directory*."""
    made = Authority(directory / name)
    made.directory.mkdir()
    subject = ("-subj", f"/CN={name}", "-days", 2)
    openssl("req", "-x509", *_NEW_KEY, "-keyout", made.directory / "ca.key", "-out", made.ca, *subject)
    return made
