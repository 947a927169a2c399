# SPDX-License-Identifier: Apache-2.0
"""Start programs that end with the demo, however the demo ends."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from demo.errors import DemoError

ROOT = Path(__file__).resolve().parent.parent
"""The project's directory: where `.build/`, `.venv/` and `collector/` are."""

_CALLERS_SETTINGS = ("OTEL_", "XDP_OTEL_", "COLLECTOR_", "OTLP_")


def environment() -> dict[str, str]:
    """Return the environment without the caller's settings for exporters, sidecars and Collectors."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_CALLERS_SETTINGS)}


def run(*command: str) -> str:
    """
    Run *command* to its end and return what it printed.

    Raises DemoError with the last line of its error output if it cannot be started or fails.
    """
    try:
        # A new session: the terminal's Ctrl-C must not interrupt it halfway.
        done = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=True)
    except FileNotFoundError:
        raise DemoError(
            f"cannot run {command[0]}: not found: install the packages with `make packages`"
        ) from None
    except subprocess.CalledProcessError as error:
        output = (error.stderr or error.stdout).strip().splitlines()
        cause = output[-1] if output else "no message"
        raise DemoError(f"cannot run `{' '.join(command)}`: exit {error.returncode}: {cause}") from error
    return done.stdout


def spawn(
    command: Sequence[str],
    *,
    namespace: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """
    Start *command*, in the network namespace *namespace* if given; the pid is the command's own.

    It uses nsenter because the mount namespace of `ip netns exec` hides /sys/fs/bpf. A new session shields
    the command from the terminal's Ctrl-C, so that the demo stops its parts in order; the parent-death signal
    ends the command if the demo itself is killed.
    """
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"]
    if namespace is not None:
        prefix += ["nsenter", f"--net=/run/netns/{namespace}", "--"]
    return subprocess.Popen(
        [*prefix, *command],
        cwd=ROOT,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs *module* of this project with this interpreter, unbuffered."""
    return [sys.executable, "-u", "-m", module, *arguments]


def end(process: subprocess.Popen[bytes], *, timeout_s: float = 10.0) -> None:
    """Terminate *process* (SIGTERM), kill it after *timeout_s* seconds (SIGKILL), and reap it."""
    with process:  # closes its pipes
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
