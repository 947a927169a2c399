# SPDX-License-Identifier: Apache-2.0
"""The files for podman, checked without running them."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.podman import pod

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")
# Allowed by podman's default profile under conditions that hold for the sidecar: no audit sockets.
CONDITIONAL = {"socket", "arch_prctl"}


@pytest.fixture(scope="module")
def documents():
    """The output of `render` for two interfaces."""
    environ = {"PATH": os.environ["PATH"], "PROMETHEUS_IMAGE": "localhost/prometheus:test"}
    command = [pod.ROOT / "deploy/podman/render", "eth0", "eth1.7"]
    printed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(printed))


def test_files_arrive_unchanged(documents):
    """Each ConfigMap has an exact copy of its files."""
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
    """Mounts, volumes and ConfigMaps match."""
    spec = documents[-1]["spec"]
    volumes = {each["name"] for each in spec["volumes"]}
    mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    config_maps = [each["configMap"] for each in spec["volumes"] if "configMap" in each]
    wanted = {each["name"] for each in config_maps if not each.get("optional")}

    assert mounts == volumes
    assert wanted == {each["metadata"]["name"] for each in documents if each["kind"] == "ConfigMap"}


def test_interfaces_and_images_can_be_chosen(documents):
    """Arguments and variables of `up` reach the pod."""
    sidecar, collector, prometheus, grafana = documents[-1]["spec"]["containers"]

    assert ["--interface=eth0", "--interface=eth1.7"] == sidecar["args"]
    assert "localhost/prometheus:test" == prometheus["image"]
    assert grafana["image"].startswith("docker.io/grafana/grafana:")
    assert sidecar["image"].rpartition(":")[2] == collector["image"].rpartition(":")[2]


def test_only_features_of_podman_4_3_are_used(documents):
    """No ports with hostNetwork, no field of the node, no kind but ConfigMap and Pod."""
    spec = documents[-1]["spec"]
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    keys = {key for container in spec["containers"] for key in container}

    assert {"ConfigMap", "Pod"} == {each["kind"] for each in documents}
    assert {"hostPath", "configMap", "persistentVolumeClaim"} == kinds
    assert not keys & {"ports", "livenessProbe", "readinessProbe", "startupProbe"}
    assert "fieldRef" not in json.dumps(spec)


@pytest.mark.skipif(not DEFAULT_PROFILE.exists(), reason="no podman here")
def test_the_profile_adds_only_bpf_to_podmans_default():
    """Except for bpf, podman's default profile unconditionally allows every call that bpf.json allows."""
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


def test_up_explains_its_usage():
    """For an unknown flag it prints its usage; an unknown interface is rejected."""
    up = pod.ROOT / "deploy/podman/up"
    flag = subprocess.run([up, "--all"], check=False, capture_output=True, text=True)
    environ = {**os.environ, "CONTAINER_TOOL": "true"}
    wrong = subprocess.run([up, "nosuchif0"], check=False, capture_output=True, text=True, env=environ)

    assert (2, True) == (flag.returncode, "usage:" in flag.stderr)
    assert 1 == wrong.returncode
    assert 1 == len(wrong.stderr.splitlines())


def test_up_rejects_a_missing_configuration_file():
    """One line, and nothing is started."""
    environ = {**os.environ, "CONTAINER_TOOL": "true", "XDP_OTEL_CONFIG": "/no/such.yaml"}
    up = subprocess.run(
        [pod.ROOT / "deploy/podman/up"], check=False, capture_output=True, text=True, env=environ
    )

    assert (1, "") == (up.returncode, up.stdout)
    assert up.stderr == "deploy/podman/up: cannot read /no/such.yaml: no such file: name another\n"
