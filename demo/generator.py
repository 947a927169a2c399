# SPDX-License-Identifier: Apache-2.0
"""The processes of the traffic generator, each in its network namespace."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from demo.errors import DemoError
from demo.interruption import pause
from demo.namespaces import CLIENT_INTERFACE, Lab
from demo.patience import patient
from demo.processes import end, python, spawn

SEND_WITHIN_S = patient(120)
"""How long the traffic may take, seconds; it takes about one."""


@contextmanager
def server(made: Lab) -> Iterator[None]:
    """
    Answer on TCP and UDP in the node's namespace.

    Raises DemoError if the server cannot start.
    """
    process = spawn(python("demo.traffic", "serve"), namespace=made.node, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise DemoError("cannot start the node's server: it exited: see its message above")
        yield
    finally:
        end(process)


def send(made: Lab) -> None:
    """
    Send the whole mix once from the client's namespace.

    Raises DemoError if that fails or takes too long.
    """
    process = spawn(python("demo.traffic", "send", CLIENT_INTERFACE), namespace=made.client)
    deadline = time.monotonic() + SEND_WITHIN_S
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise DemoError(
                    f"cannot send the traffic: not done after {SEND_WITHIN_S:g} s: is the host overloaded?"
                )
            pause(0.05)
    finally:
        end(process)
    if process.returncode != 0:
        raise DemoError(
            f"cannot send the traffic: the generator exited with {process.returncode}: see its message above"
        )


@contextmanager
def trickle(made: Lab) -> Iterator[None]:
    """Keep sending a little of everything from the client's namespace."""
    process = spawn(python("demo.traffic", "trickle", CLIENT_INTERFACE), namespace=made.client)
    try:
        yield
    finally:
        end(process)
