# SPDX-License-Identifier: Apache-2.0
"""
Check that certificates and a key can be used: gRPC would only report failed handshakes, call after call.

It is a program of its own that imports nothing of ours: `ssl` takes memory that the sidecar would never get
back. Standard input is a JSON list of three texts or nulls: roots, key, chain. If one of them cannot be
used, standard output is a JSON list of its name and the cause; otherwise it is empty.
"""

import json
import os
import ssl
import sys


class _MisfitError(Exception):
    def __init__(self, which: str, cause: str) -> None:
        super().__init__(which, cause)


def _check(roots: str | None, key: str | None, chain: str | None) -> None:
    if roots is not None:
        _load_certificates(roots, "CERTIFICATE")
    if chain is not None and key is not None:
        _load_certificates(chain, "CLIENT_CERTIFICATE")
        _load_pair(key, chain)


def _load_certificates(text: str, which: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(_path(text))
    except ssl.SSLError as error:
        raise _MisfitError(which, f"it has no certificate, or a damaged one ({_reason(error)})") from None
    if not context.cert_store_stats()["x509"]:
        raise _MisfitError(which, "it has no certificate")


def _load_pair(key: str, chain: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # How strong they must be is up to gRPC and the Collector.
    context.set_ciphers("ALL:@SECLEVEL=0")
    prompts = []

    def no_password() -> str:
        prompts.append(True)
        return ""

    try:
        context.load_cert_chain(_path(chain), _path(key), no_password)
    except ssl.SSLError as error:
        cause = f"it has no key, or a damaged one ({_reason(error)})"
        if error.reason == "KEY_VALUES_MISMATCH":
            cause = "it is not the key of the client's certificate"
        raise _MisfitError("CLIENT_KEY", "the key is encrypted" if prompts else cause) from None


def _path(text: str) -> str:
    """Return a path to a text in memory: OpenSSL takes only files, and a key must not be written to disk."""
    file = os.memfd_create("pem")
    os.write(file, text.encode("latin-1"))
    return f"/proc/self/fd/{file}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not in PEM format").replace("_", " ").lower()


if __name__ == "__main__":
    try:
        _check(*json.load(sys.stdin))
    except _MisfitError as misfit:
        json.dump(misfit.args, sys.stdout)
