# SPDX-License-Identifier: Apache-2.0
"""deploy/traffic, the generator for demonstrations."""

import re
import subprocess
import sys

import pytest

from demo.processes import ROOT
from tests.waiting import patient


def traffic(*arguments):
    command = [sys.executable, str(ROOT / "deploy/traffic"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=patient(60))


def sent(output):
    return {name: int(count.replace(",", "")) for count, name in re.findall(r"([0-9,]+) ([A-Z]+)", output)}


def test_rate_times_duration_is_sent_in_the_requested_shares():
    """One second at 200 a second, half UDP and half ICMP, over IPv4 and IPv6."""
    done = traffic("--duration", "1", "--rate", "200", "--mix", "udp=1,icmp=1")

    counts = sent(done.stdout.partition(":")[2])
    assert (0, {"UDP", "ICMP"}) == (done.returncode, set(counts))
    assert 180 <= sum(counts.values()) <= 200
    assert abs(counts["UDP"] - counts["ICMP"]) <= 2


def test_an_interface_is_created_used_and_removed():
    """--interface creates an interface and a namespace for the packets."""
    done = traffic("--interface", "xdptraffic0", "--duration", "1", "--rate", "100")

    assert (0, "") == (done.returncode, done.stderr)
    assert {"UDP", "TCP", "ICMP"} == set(sent(done.stdout.partition(":")[2]))
    assert (
        subprocess.run(["ip", "link", "show", "xdptraffic0"], check=False, capture_output=True).returncode
        != 0
    )
    assert (
        "xdp-traffic"
        not in subprocess.run(["ip", "netns"], check=True, capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize(
    "arguments", [("--rate", "1000000"), ("--duration", "100000"), ("--mix", "sctp=1"), ("--mix", "udp=0")]
)
def test_impossible_arguments_are_refused(arguments):
    """Rate and duration are bounded, and protocols must be known."""
    assert 2 == traffic(*arguments).returncode
