# SPDX-License-Identifier: Apache-2.0
"""
The Quadlet files, without Quadlet: podman 4.3 has none.

Each key is held against those of podman 4.4's manual page, which also says to which flag of `podman run` it
leads; with these flags the containers are really run.
"""

import os
import subprocess

import pytest

from demo.processes import ROOT, run
from tests.podman import pod

QUADLET = ROOT / "deploy/systemd/quadlet"
# podman-systemd.unit(5) in podman 4.4.
FLAGS = {
    "AddCapability": "--cap-add={}",
    "ContainerName": "--name={}",
    "DropCapability": "--cap-drop={}",
    "EnvironmentFile": "--env-file={}",
    "Network": "--network={}",
    "NoNewPrivileges": "--security-opt=no-new-privileges",
    "ReadOnly": "--read-only",
    "SeccompProfile": "--security-opt=seccomp={}",
    "SecurityLabelType": "--security-opt=label=type:{}",
    "User": "--user={}",
    "Volume": "--volume={}",
}
SHIPPED = {
    "/etc/xdp-otel/seccomp-bpf.json": "deploy/podman/seccomp/bpf.json",
    "/etc/xdp-otel/xdp-otel.env": "deploy/systemd/xdp-otel.env",
    "/etc/xdp-otel/otelcol-xdp.env": "deploy/systemd/otelcol-xdp.env",
}


def container_section(name):
    """Return the lines of `[Container]` as pairs; a key may occur more than once."""
    lines = (QUADLET / f"{name}.container").read_text().splitlines()
    inside = lines[lines.index("[Container]") + 1 : lines.index("[Service]")]
    return [line.split("=", 1) for line in inside if line and not line.startswith("#")]


def command(name, *instead):
    """Return the equivalent `podman run`, with files of this repository in place of installed ones."""
    flags, image, arguments = [], "", []
    for key, value in container_section(name):
        if key == "Image":
            image = f"{pod.PREFIX}/{value.partition('/')[2]}"
        elif key == "Exec":
            arguments = value.split()
        else:
            path = str(ROOT / SHIPPED[value]) if value in SHIPPED else value
            flags += [FLAGS[key].format(word) for word in path.split()]
    return [pod.PODMAN, "run", "--rm", *flags, image, *(instead or arguments)]


@pytest.mark.parametrize("name", ["xdp-otel", "otelcol-xdp"])
def test_a_quadlet_has_only_keys_of_podman_4_4(name):
    """The oldest podman with Quadlet knows every key of `[Container]`."""
    assert {key for key, _ in container_section(name)} <= {*FLAGS, "Image", "Exec"}


def test_the_images_are_of_this_version():
    """The tags are those that `make images` builds."""
    version = run(str(ROOT / ".venv/bin/xdp-otel"), "--version").split()[1]

    for name in ("xdp-otel", "otelcol-xdp"):
        assert dict(container_section(name))["Image"].endswith(f"/{name}:{version}")


@pytest.mark.skipif(os.environ.get("XDP_OTEL_TEST_PODMAN") != "1", reason="make test-podman")
def test_the_sidecar_counts_under_the_flags_of_its_quadlet():
    """With only the privileges of the file it attaches, reads and exits with 0."""
    with pod.interface():
        try:
            arguments = ("--interface", pod.INTERFACE, "--otel-endpoint", "none", "--once")
            done = subprocess.run(
                command("xdp-otel", "run", *arguments),
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            assert "attached to" in done.stderr
        finally:
            subprocess.run(command("xdp-otel", "detach", "--interface", pod.INTERFACE), check=False)
            run(pod.PODMAN, "volume", "rm", "xdp-otel-state")


@pytest.mark.skipif(os.environ.get("XDP_OTEL_TEST_PODMAN") != "1", reason="make test-podman")
def test_the_collector_accepts_its_configuration_under_the_flags_of_its_quadlet():
    """The image's configuration is valid with a read-only root and without privileges."""
    arguments = ("validate", "--config", "/etc/otelcol-xdp/config.yaml")
    assert run(*command("otelcol-xdp", *arguments)) == ""
