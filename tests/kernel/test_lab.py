# SPDX-License-Identifier: Apache-2.0
"""The two namespaces of the demo, as they come up."""

import json

from demo.namespaces import CLIENT_INTERFACE, MTU, NODE_INTERFACE, lab
from demo.processes import run
from tests.kernel.compiled import MAPS, compile_object


def mtus(made):
    return [
        json.loads(run("ip", "-n", namespace, "-json", "link", "show", interface))[0]["mtu"]
        for namespace, interface in ((made.client, CLIENT_INTERFACE), (made.node, NODE_INTERFACE))
    ]


def test_both_ends_take_jumbo_frames():
    """Without a program, the kernel refuses no MTU."""
    with lab("jumbo") as made:
        made.connect()

        assert mtus(made) == [MTU, MTU]


def test_no_end_takes_jumbo_frames_where_the_other_refuses_them(tmp_path):
    """With a program for frames of one buffer, the only kind before 5.18, the node's replies fit, too."""
    program = compile_object(MAPS / "flows.bpf.c", tmp_path / "flows.bpf.o")
    with lab("single") as made:
        run("ip", "-n", made.node, "link", "set", NODE_INTERFACE, "xdpdrv", "obj", str(program), "sec", "xdp")
        made.connect()

        assert mtus(made) == [1500, 1500]
