# SPDX-License-Identifier: Apache-2.0
"""What podman is given, read and not played."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.podman import pod

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")
# Allowed by podman's default under conditions that a sidecar fulfils: sockets other than those for auditing.
CONDITIONAL = {"socket", "arch_prctl"}


@pytest.fixture(scope="module")
def documents():
    """What `render` prints for two interfaces."""
    environ = {"PATH": os.environ["PATH"], "PROMETHEUS_IMAGE": "localhost/prometheus:test"}
    command = [pod.ROOT / "deploy/podman/render", "eth0", "eth1.7"]
    printed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(printed))


def test_files_arrive_unchanged(documents):
    """Each file is in its ConfigMap to the byte."""
    maps = {each["metadata"]["name"]: each["data"] for each in documents if each["kind"] == "ConfigMap"}
    shipped = {
        "xdp-otel-collector": [pod.ROOT / "collector/config.yaml"],
        "xdp-otel-prometheus": [pod.ROOT / "deploy/prometheus/prometheus.yml"],
        "xdp-otel-prometheus-rules": (pod.ROOT / "deploy/prometheus/rules").glob("*.yml"),
        "xdp-otel-grafana-datasources": (pod.ROOT / "deploy/grafana/provisioning/datasources").glob("*.yaml"),
        "xdp-otel-grafana-provider": (pod.ROOT / "deploy/grafana/provisioning/dashboards").glob("*.yaml"),
        "xdp-otel-grafana-dashboards": (pod.ROOT / "deploy/grafana/dashboards").glob("*.json"),
    }

    assert {name: {file.name: file.read_text() for file in files} for name, files in shipped.items()} == maps


def test_every_volume_is_mounted_and_every_mount_has_a_volume(documents):
    """The pod's mounts, its volumes and the ConfigMaps go together."""
    spec = documents[-1]["spec"]
    volumes = {each["name"] for each in spec["volumes"]}
    mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    config_maps = [each["configMap"] for each in spec["volumes"] if "configMap" in each]
    wanted = {each["name"] for each in config_maps if not each.get("optional")}

    assert mounts == volumes
    assert wanted == {each["metadata"]["name"] for each in documents if each["kind"] == "ConfigMap"}


def test_interfaces_and_images_are_those_asked_for(documents):
    """Arguments and variables of `up` reach the pod."""
    sidecar, collector, prometheus, grafana = documents[-1]["spec"]["containers"]

    assert ["--interface=eth0", "--interface=eth1.7"] == sidecar["args"]
    assert "localhost/prometheus:test" == prometheus["image"]
    assert grafana["image"].startswith("docker.io/grafana/grafana:")
    assert sidecar["image"].rpartition(":")[2] == collector["image"].rpartition(":")[2]


def test_what_older_podmen_refuse_is_not_used(documents):
    """No ports beside hostNetwork, no field of the node, no other kind than Pod (podman 4.3)."""
    spec = documents[-1]["spec"]
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    keys = {key for container in spec["containers"] for key in container}

    assert {"ConfigMap", "Pod"} == {each["kind"] for each in documents}
    assert {"hostPath", "configMap", "persistentVolumeClaim"} == kinds
    assert not keys & {"ports", "livenessProbe", "readinessProbe", "startupProbe"}
    assert "fieldRef" not in json.dumps(spec)


@pytest.mark.skipif(not DEFAULT_PROFILE.exists(), reason="no podman here")
def test_the_profile_allows_bpf_and_nothing_else_beyond_podmans_own():
    """Every call that bpf.json allows, but for bpf, podman's default profile allows without conditions."""
    (rule,) = json.loads((pod.ROOT / "deploy/podman/seccomp/bpf.json").read_text())["syscalls"]
    default = {
        name
        for each in json.loads(DEFAULT_PROFILE.read_text())["syscalls"]
        if each["action"] == "SCMP_ACT_ALLOW"
        and not (each.get("includes") or each.get("excludes") or each.get("args"))
        for name in each["names"]
    }

    assert {"bpf"} == set(rule["names"]) - default - CONDITIONAL
    for name in ("mount", "ptrace", "setns", "unshare"):
        assert name not in rule["names"]


def test_without_root_or_interface_up_says_what_to_do():
    """`up` explains itself without arguments, and refuses an interface that is not there."""
    up = pod.ROOT / "deploy/podman/up"
    bare = subprocess.run([up], check=False, capture_output=True, text=True)
    environ = {**os.environ, "CONTAINER_TOOL": "true"}
    wrong = subprocess.run([up, "nosuchif0"], check=False, capture_output=True, text=True, env=environ)

    assert (2, True) == (bare.returncode, "usage:" in bare.stderr)
    assert 1 == wrong.returncode
    assert 1 == len(wrong.stderr.splitlines())


def test_up_refuses_a_configuration_file_that_is_not_there():
    """One line, and nothing is played."""
    environ = {**os.environ, "CONTAINER_TOOL": "true", "XDP_OTEL_CONFIG": "/no/such.yaml"}
    up = subprocess.run(
        [pod.ROOT / "deploy/podman/up"], check=False, capture_output=True, text=True, env=environ
    )

    assert (1, "") == (up.returncode, up.stdout)
    assert up.stderr == "deploy/podman/up: read /no/such.yaml: there is no such file: name another\n"
