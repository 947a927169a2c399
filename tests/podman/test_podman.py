# SPDX-License-Identifier: Apache-2.0
"""
The pod of deploy/podman with real sidecar, Collector and Prometheus images and real frames.

A stand-in for Grafana's image reports the files in the places where Grafana reads them. So the tests show
that provisioning, dashboards and password arrive, not that Grafana draws them.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from demo.frames import every_kind
from tests.podman import pod

FRAMES = list(every_kind(b"\x02\0\0\0\0\x01").values())
CAPABILITIES = {"sidecar": {"CAP_BPF", "CAP_NET_ADMIN"}}


def test_prometheus_shows_what_the_kernel_counted(played):
    """Prometheus in the pod shows what was sent and what the kernel's map holds."""
    pod.send(FRAMES * 20)

    counted = pod.kernel()

    assert len(FRAMES) * 20 == counted["total_packets"]
    assert counted == pod.wait_until_equal(counted)


@pytest.mark.parametrize("container", ["sidecar", "collector", "prometheus"])
def test_a_crashed_container_is_restarted_without_loss(played, container):
    """Prometheus has the frames from before, during and after the crash, each once."""
    before = pod.kernel()["total_packets"]

    pod.send(FRAMES)
    pod.crash(container)
    pod.send(FRAMES)

    counted = pod.kernel()
    assert before + 2 * len(FRAMES) == counted["total_packets"]
    assert counted == pod.wait_until_equal(counted)


def test_up_on_a_running_pod_continues_the_counters(played):
    """It replaces the pod: frames sent meanwhile count, and the counters continue."""
    before = pod.kernel()["total_packets"]

    pod.send(FRAMES)
    pod.up(played)
    pod.send(FRAMES)

    counted = pod.kernel()
    assert before + 2 * len(FRAMES) == counted["total_packets"]
    assert counted == pod.wait_until_equal(counted)


def test_a_configuration_file_adds_sources(played, tmp_path):
    """A map pinned on the host is read as the file describes it."""
    pin = "/sys/fs/bpf/xdp-podman-test"
    sources = tmp_path / "any-name.yaml"
    sources.write_text(f"sources: [{{pin: {pin}, profile: packet-counter, attributes: {{owner: us}}}}]")
    kind = ["type", "array", "key", "4", "value", "64", "entries", "1", "name", "users_map"]
    pod.run("bpftool", "map", "create", pin, *kind)
    number = json.loads(pod.run("bpftool", "--json", "map", "show", "pinned", pin))["id"]
    value = "2a" + 63 * " 00"
    pod.run("bpftool", "map", "update", "pinned", pin, *f"key hex 00 00 00 00 value hex {value}".split())
    try:
        pod.up({**played, "XDP_OTEL_CONFIG": str(sources)})
        found = pod.wait_until('xdp_xdp_packets_total{owner="us"}', "42")
    finally:
        os.unlink(pin)
        pod.up(played)
        # Without CAP_SYS_ADMIN, the sidecar cannot detect that the map is gone.
        for mark in Path("/sys/fs/bpf/xdp-otel").glob(f"reported-{number}-*"):
            mark.unlink() if mark.is_symlink() else mark.rmdir()

    assert "42" == found


@pytest.mark.parametrize("container", pod.CONTAINERS)
def test_a_container_has_only_the_privileges_it_needs(played, container):
    """Capabilities, seccomp, no_new_privs, read-only root and user, as the kernel sees them."""
    found = pod.inspect(container)
    lines = Path(f"/proc/{found['State']['Pid']}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)

    assert CAPABILITIES.get(container, set()) == set(found["EffectiveCaps"] or [])
    assert "2" == status["Seccomp"]
    assert "1" == status["NoNewPrivs"]
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert (container == "sidecar") == (status["Uid"].split()[0] == "0")


def test_the_sidecar_runs_under_the_shipped_seccomp_profile(played):
    """Its seccomp filter is bpf.json, not a wider one."""
    config = json.loads(Path(pod.inspect("sidecar")["OCIConfigPath"]).read_text())
    allowed = {name for rule in config["linux"]["seccomp"]["syscalls"] for name in rule["names"]}
    shipped = json.loads((pod.ROOT / "deploy/podman/seccomp/bpf.json").read_text())

    assert set(shipped["syscalls"][0]["names"]) >= allowed >= {"bpf", "sendmsg"}


def test_everything_listens_on_loopback_only(played):
    """None of the pod's ports can be reached from another host."""
    listening = pod.run("ss", "-Hltn").splitlines()
    ports = {"3000", "4317", "8888", "8889", "9090", "9464", "13133"}
    addresses = Counter()
    for line in listening:
        address, _, port = line.split()[3].rpartition(":")
        if port in ports:
            addresses[address] += 1

    assert len(ports) <= addresses.total()
    assert {"127.0.0.1", "[::1]"} >= set(addresses)


def test_grafana_finds_datasource_dashboards_and_its_password(played):
    """The files are where Grafana reads them, and the administrator has the generated password."""
    found = pod.ask(3000, "files")
    dashboards = [json.loads(text) for path, text in found["files"].items() if path.endswith(".json")]
    shipped = sorted(path.name for path in (pod.ROOT / "deploy/grafana/dashboards").glob("*.json"))

    assert shipped == sorted(Path(path).name for path in found["files"] if path.endswith(".json"))
    assert all(dashboard["panels"] for dashboard in dashboards)
    provider = found["files"]["/etc/grafana/provisioning/dashboards/xdp.yaml"]
    assert "path: /var/lib/grafana/dashboards/xdp\n" in provider
    assert "${PROMETHEUS_URL}" in found["files"]["/etc/grafana/provisioning/datasources/prometheus.yaml"]
    assert "http://localhost:9090" == found["environment"]["PROMETHEUS_URL"]
    password = Path(played["GRAFANA_PASSWORD_FILE"])
    assert password.read_text().strip() == found["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert 24 == len(password.read_text().strip())
    assert 0o600 == password.stat().st_mode & 0o777
    assert found["writable"]


def test_prometheus_has_the_rules(played):
    """The recording rules and alerts of the pod's ConfigMap are loaded, and each can be evaluated."""
    groups = pod.ask(9090, "api/v1/rules")["data"]["groups"]

    assert {"xdp-alerts.yml", "xdp-recording.yml"} == {Path(group["file"]).name for group in groups}
    assert [] == [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]


def test_down_keeps_only_the_data(played):
    """After `down` no container, pin, program or secret is left; after `up` the counters continue."""
    before = pod.kernel()
    pod.down()

    assert "" == pod.podman("ps", "--all", "--quiet")
    assert "" == pod.podman("pod", "ls", "--quiet")
    assert "" == pod.podman("secret", "ls", "--quiet")
    volumes = pod.podman("volume", "ls", "--quiet").split()
    assert ["xdp-otel-grafana-data", "xdp-otel-prometheus-data", "xdp-otel-state"] == sorted(volumes)
    assert not Path("/sys/fs/bpf/xdp-otel", pod.INTERFACE).exists()
    assert "prog/xdp" not in pod.run("ip", "link", "show", pod.INTERFACE)

    pod.up(played)
    pod.send(FRAMES)
    after = pod.kernel()
    assert len(FRAMES) == after["total_packets"]  # a new map
    total = {name: before[name] + after[name] for name in after}
    assert total == pod.wait_until_equal(total)


def test_down_with_volumes_leaves_nothing(played):
    """After `down --volumes` podman lists nothing of the pod."""
    pod.down("--volumes")

    for kind in ("pod", "volume", "secret"):
        assert "" == pod.podman(kind, "ls", "--quiet")
    assert "" == pod.podman("ps", "--all", "--quiet")
