# SPDX-License-Identifier: Apache-2.0
"""What gRPC's messages mean, to somebody who does not know gRPC."""

import pytest

from sidecar.otlp.explain import explain, shortened

CONNECT = "failed to connect to all addresses; last error: "
# gRPC 1.6x to 1.8x with c-ares, and with the C library's resolver.
MEANINGS = {
    f"{CONNECT}UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused": (
        "connection refused: nothing listens there",
        "start the Collector",
    ),
    "errors resolving nowhere:4317: [field:hostname lookup error:address lookup failed for nowhere:4317: "
    "Domain name not found]": ("unknown host name", "correct the name"),
    "DNS resolution failed for nowhere:4317: C-ares status is not ARES_SUCCESS qtype=A: Timeout while "
    "contacting DNS servers": ("the host name cannot be resolved", "this machine's DNS"),
    f"{CONNECT}UNKNOWN: ipv4:192.0.2.1:4317: Failed to connect to remote host: connect() timed out": (
        "the connection timed out",
        "no firewall drops the packets",
    ),
    f"{CONNECT}UNKNOWN: ipv6:%5B2001:db8::1%5D:4317: tcp handshaker shutdown": (
        "the connection timed out",
        "no firewall drops the packets",
    ),
    f"{CONNECT}UNKNOWN: ipv4:192.0.2.1:4317: Failed to connect to remote host: No route to host": (
        "no route to that address",
        "check the address",
    ),
    f"{CONNECT}UNAVAILABLE: ipv4:127.0.0.1:4317: Socket closed": (
        "it accepts connections and closes them at once",
        "the endpoint may want https://",
    ),
    f"{CONNECT}UNKNOWN: ipv4:127.0.0.1:4317: connection attempt timed out before receiving SETTINGS frame": (
        "it accepts connections but does not answer",
        "the endpoint may want https://",
    ),
    f"{CONNECT}INTERNAL: ipv4:127.0.0.1:4318: Failed parsing HTTP/2 (Expected SETTINGS frame as the first "
    "frame, got frame type 80) (Trying to connect an http1.x server (HTTP status 400))": (
        "no gRPC server listens there",
        "4317",
    ),
    f"{CONNECT}FAILED_PRECONDITION: unix:/x: connect failed: error: No such file or directory": (
        "there is no such socket",
        "start the Collector",
    ),
    f"{CONNECT}SOMETHING: new": ("no connection", "correct the address"),
}


@pytest.mark.parametrize("details", MEANINGS)
def test_a_failure_to_connect_is_explained(details):
    """What it is, and what to do."""
    cause, remedy = explain("UNAVAILABLE", details, secure=False)

    assert cause == MEANINGS[details][0]
    assert MEANINGS[details][1] in remedy


def test_over_tls_nobody_is_told_to_use_tls():
    """The same words mean something else there."""
    details = f"{CONNECT}UNAVAILABLE: ipv4:127.0.0.1:4317: Socket closed"

    assert "https://" not in explain("UNAVAILABLE", details, secure=True).remedy


def test_what_a_collector_quotes_of_its_backend_is_not_explained():
    """It listens: its backend does not."""
    details = "rpc error: dial tcp 10.0.0.1:4317: connect: Connection refused"

    assert explain("UNAVAILABLE", details, secure=False) == ("", "see the Collector's log")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("DEADLINE_EXCEEDED", "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ("UNAUTHENTICATED", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("PERMISSION_DENIED", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("UNIMPLEMENTED", "metrics pipeline"),
        ("INTERNAL", "the Collector's log"),
    ],
)
def test_a_code_has_a_remedy(code, words):
    """Those of the Collector too."""
    assert words in explain(code, "whatever it writes", secure=False).remedy


def test_the_words_that_all_failures_have_in_common_are_cut():
    """The address stays."""
    details = f"{CONNECT}UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused"

    assert shortened(details) == "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused"
