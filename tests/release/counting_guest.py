# SPDX-License-Identifier: Apache-2.0
"""
What runs in the machine of test_arm64_kernel.py, by the archive's own Python: the released programs count.

It writes `report.json`: what was sent, what each of them says of it, what is left in the kernel at the end.
"""

import json
import platform
import re
from contextlib import ExitStack
from pathlib import Path

from demo import stack
from demo.comparison import places_of
from demo.generator import send, server, trickle
from demo.namespaces import CLIENT_INTERFACE, lab
from demo.ports import Ports
from demo.processes import run
from demo.prometheus import METRICS, fetch
from demo.tap import FIELDS, tap
from tests.waiting import matching

_RESULTS = Path("/run/results")
_STATE = Path("/run/xdp-otel")
_TYPES = ("xdp", "sched_cls")


def main() -> None:
    """Count the traffic of two namespaces, with a sidecar that is killed meanwhile; detach; report."""
    stack.mount_bpffs()
    run("ip", "link", "set", "lo", "up")
    with lab() as made:
        places = places_of(made)
        counted = _count(made, places)
        for place in places:
            stack.detach(place.name, place.netns)
        report = {
            "machine": platform.machine(),
            "kernel": platform.release(),
            "version": _xdp_otel("--version"),
            **counted,
            "pins": [str(path) for path in stack.BPFFS.rglob("*") if not path.is_dir()],
            "programs": [each["name"] for each in _bpftool("prog", "show") if each["type"] in _TYPES],
        }
    (_RESULTS / "report.json").write_text(json.dumps(report, indent=1))


def _count(made, places):
    """Return what `check` and `discover` say, what was sent, and what is counted where."""
    _STATE.mkdir()
    ports = Ports()
    with ExitStack() as cleanup:
        checked = _xdp_otel("check", "--no-endpoint", *_where(places[0]))
        cleanup.enter_context(stack.collector(_STATE, ports))
        sidecar = cleanup.enter_context(stack.counting(_STATE, ports, places))
        truth = cleanup.enter_context(tap(made.client, CLIENT_INTERFACE))
        made.connect()
        cleanup.enter_context(server(made))
        send(made)
        with trickle(made):
            _sent_since(truth.counts(), truth)
            sidecar.kill()
            missed = _sent_since(truth.counts(), truth)
            sidecar.start()
        return {
            "check": checked,
            "discover": _xdp_otel("discover", "--netns", made.node),
            "sent_while_it_was_dead": missed,
            **matching(lambda: _counted(truth, ports, places), _agree),
        }


def _sent_since(start, truth):
    """Return what was sent after *start*, once there is something of each kind, or time is up."""
    return matching(
        lambda: {field: count - start[field] for field, count in truth.counts().items()},
        lambda sent: all(sent.values()),
    )


def _counted(truth, ports, places):
    """Return what was sent, and what is counted where."""
    sent = truth.counts()
    return {
        "sent": sent,
        "places": {f"{place.name} {place.direction}s": _said(ports, place) for place in places},
    }


def _agree(counted):
    return all(counted["sent"] == said["dump"] == said["collector"] for said in counted["places"].values())


def _said(ports, place):
    """Return the counts of one place by who gives them; the kernel's are those of each CPU."""
    pinned = _bpftool("map", "dump", "pinned", str(place.map_pin))[0]["formatted"]["values"]
    (dumped,) = json.loads(_xdp_otel("dump", "--json", *_where(place)))
    return {
        "kernel": [value["value"] for value in pinned],
        "dump": {field: dumped["fields"][field] for field in FIELDS},
        "collector": _served(ports, place),
    }


def _served(ports, place):
    """Return what the Collector's page says of the interface."""
    page = fetch(f"http://127.0.0.1:{ports.metrics}/metrics")
    label = f'network_interface_name="{place.name}"'
    samples = dict(re.findall(rf"^(\w+)\{{.*{label}.*\}} (\S+)$", page, re.MULTILINE))
    # Values over 2^20 are written as 1.234567e+06, with all digits.
    return {field: int(float(samples.get(METRICS[field], "0"))) for field in FIELDS}


def _where(place):
    return ("--interface", place.name, "--netns", place.netns, "--direction", place.direction)


def _xdp_otel(*arguments):
    return run(str(stack.SIDECAR), *arguments)


def _bpftool(*arguments):
    return json.loads(run("bpftool", "--json", *arguments))


if __name__ == "__main__":
    main()
