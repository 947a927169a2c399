# SPDX-License-Identifier: Apache-2.0
"""A third party's program, xdp-filter of xdp-tools, with traffic: found, read and compared with bpftool."""

import json
import struct
import subprocess

import pytest

from tests.kernel.frames import send
from tests.kernel.user_program import bpftool, xdp_otel

ACTIONS = ["aborted", "drop", "pass", "tx", "redirect"]


@pytest.fixture
def filtered(veth, cleanup):
    """An interface with xdp-filter on it, which drops what comes from 02:02:02:02:02:02."""
    unload = ["xdp-filter", "unload", veth.name]
    subprocess.run(["xdp-filter", "load", veth.name], check=True, capture_output=True)
    cleanup.callback(subprocess.run, unload, check=False, capture_output=True)
    subprocess.run(["xdp-filter", "ether", "-m", "src", "02:02:02:02:02:02"], check=True, capture_output=True)
    return veth


def test_the_program_and_its_maps_are_found(filtered):
    """Alone on the interface, or under libxdp's dispatcher where the kernel allows one; its pins by path."""
    listed = json.loads(xdp_otel("discover", "--json"))
    (shown,) = [each for each in listed["interfaces"] if each["interface"] == filtered.name]
    programs = [shown, *shown["under"]]
    (program,) = [each for each in programs if each["program"].startswith("xdpfilt_")]
    maps = {each["name"]: each for each in listed["maps"] if each["id"] in program["map_ids"]}
    stats = maps["xdp_stats_map"]

    assert stats["flag"] == ["--map-path", stats["pins"][0]]
    assert bpftool("map", "show", "pinned", stats["pins"][0])["id"] == stats["id"]
    # In its BTF each counter is a union of two names: one counter, with an alias.
    assert [part["name"] for part in stats["value"]] in (["packets", "bytes"], ["rx_packets", "rx_bytes"])
    assert [len(part["aliases"]) for part in stats["value"]] == [1, 1]


def test_drops_are_counted_by_xdp_action(filtered):
    """The built-in profile fits by itself; packets and bytes of each action are bpftool's."""
    listed = json.loads(xdp_otel("discover", "--json"))["maps"]
    (pin,) = {pin for each in listed for pin in each["pins"] if pin.endswith("/xdp_stats_map")}
    before = counted(pin)
    send(filtered, 23, size=100)
    rows = json.loads(xdp_otel("dump", "--json", "--map-path", pin))
    after = counted(pin)

    assert {row["attributes"]["xdp.action"]: tuple(row["fields"].values()) for row in rows} == after
    assert [now - then for now, then in zip(after["drop"], before["drop"], strict=True)] == [23, 2300]


def counted(pin):
    """Return packets and bytes by action, from bpftool's bytes: its names hide one union behind another."""
    listed = {}
    for action, entry in zip(ACTIONS, bpftool("map", "dump", "pinned", pin), strict=True):
        slots = [bytes(int(byte, 0) for byte in slot["value"]) for slot in entry["values"]]
        listed[action] = tuple(map(sum, zip(*(struct.unpack("=QQ", slot) for slot in slots), strict=True)))
    return listed
