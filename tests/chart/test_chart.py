# SPDX-License-Identifier: Apache-2.0
"""Our rules for the rendered objects: privileges, labels, volumes, addresses."""

import pytest
import yaml

from sidecar.describe.spec import MapRef
from sidecar.sources.privileges import to_open
from tests.chart.chart import CASES, containers, environment, name_of, one, pod_spec, render, sidecar

WITH_AGENTS = ("scale", "gateways")
CONTEXTS = ("securityContext", "podSecurityContext")


@pytest.mark.parametrize("case", CASES)
def test_least_rights(renders, case):
    """No container gets a privilege that it does not need; a privileged one was requested."""
    for it in renders[case]:
        spec = pod_spec(it)
        if spec is None:
            continue
        # The pods of Helm's hooks query the API server.
        assert spec["automountServiceAccountToken"] == (it["kind"] == "Pod"), name_of(it)
        for container in containers(spec):
            security = container["securityContext"]
            where = f"{name_of(it)} {container['name']}"
            assert security["readOnlyRootFilesystem"], where
            if container["name"] == "mount-bpffs":
                assert case == "everything", where
                continue
            if container["name"] in ("sidecar", "check", "detach") and case == "privileged":
                assert security["privileged"], where
                continue
            assert security["capabilities"]["drop"] == ["ALL"], where
            assert security["allowPrivilegeEscalation"] is False, where
            assert "privileged" not in security, where
            assert (security.get("seccompProfile") or spec["securityContext"]["seccompProfile"])[
                "type"
            ] != "Unconfined"
            if container["name"] not in ("sidecar", "check", "detach"):
                assert "add" not in security["capabilities"], where
            if security.get("runAsUser") == 0:
                root = ("sidecar", "check", "detach", *(("collector",) if case in WITH_AGENTS else ()))
                assert container["name"] in root, where
            else:
                assert security.get("runAsNonRoot") or spec["securityContext"]["runAsNonRoot"], where


@pytest.mark.parametrize(
    ("case", "places"),
    [
        ("default", [MapRef("interface", "eth0")]),
        ("config", [MapRef("interface", "ens5"), MapRef("pin", "/sys/fs/bpf/flows")]),
        ("pins", [MapRef("pin", "/sys/fs/bpf/flows"), MapRef("pin", "/sys/fs/bpf/drops")]),
        ("names", [MapRef("name", "stats_map"), MapRef("id", "4294967295")]),
    ],
)
def test_capabilities(renders, case, places):
    """The sidecar gets exactly the capabilities with which its code opens these sources."""
    needed = set.union(*(to_open(place, (5, 18)) for place in places))

    assert added_capabilities(renders[case]) == sorted(capability.name for capability in needed)


def test_explicit_capabilities(renders):
    """`sidecar.capabilities` replaces what the sources need."""
    assert added_capabilities(renders["everything"]) == ["BPF", "NET_ADMIN", "PERFMON"]


def test_capabilities_as_the_kernel_writes_them():
    """Kubernetes leaves out CAP_, the kernel and its tools do not: both are understood."""
    objects = render("--set=sidecar.capabilities={CAP_BPF,NET_ADMIN}")

    assert added_capabilities(objects) == ["BPF", "NET_ADMIN"]


def added_capabilities(objects):
    return sidecar(objects)[1]["securityContext"]["capabilities"]["add"]


@pytest.mark.parametrize(
    ("case", "expected"), [("default", True), ("config", True), ("pins", False), ("names", False)]
)
def test_host_network(renders, case, expected):
    """Only pods that read an interface share the node's network namespace."""
    assert pod_spec(sidecar(renders[case])[0]).get("hostNetwork", False) == expected


@pytest.mark.parametrize("case", CASES)
def test_pod_labels(renders, case):
    """A new chart version alone restarts no pod; every owner selects its pods."""
    for it in renders[case]:
        if it["kind"] in ("DaemonSet", "Deployment"):
            labels = it["spec"]["template"]["metadata"]["labels"]
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)
            selector = it["spec"].get("selector", {}).get("matchLabels", {})
            assert selector.items() <= labels.items()


@pytest.mark.parametrize("case", CASES)
def test_labels(renders, case):
    """Every object has the recommended labels and can be selected by release."""
    for it in renders[case]:
        labels = it["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "xdp", name_of(it)
        assert {"helm.sh/chart", "app.kubernetes.io/name", "app.kubernetes.io/component"} <= set(labels), (
            name_of(it)
        )


@pytest.mark.parametrize("case", CASES)
def test_volumes(renders, case):
    """Every mount has a volume, every volume is mounted; ConfigMaps and Secrets are rendered or given."""
    names = {name_of(it) for it in renders[case]}
    given = {"Secret/otlp-server", "Secret/otlp-client"}
    for it in renders[case]:
        spec = pod_spec(it)
        if spec is None:
            continue
        mounted = {
            mount["name"] for container in containers(spec) for mount in container.get("volumeMounts", [])
        }
        assert mounted == {volume["name"] for volume in spec.get("volumes", [])}, name_of(it)
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert f"ConfigMap/{volume['configMap']['name']}" in names
            if "secret" in volume:
                assert f"Secret/{volume['secret']['secretName']}" in names | given


@pytest.mark.parametrize("case", CASES)
def test_never_two_writers(renders, case):
    """A node's pod ends before its successor starts; its state stays in a directory of the release."""
    daemonset, container = sidecar(renders[case])
    assert daemonset["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] == 0
    assert environment(container)["XDP_OTEL_STATE_DIR"] == (
        "/data/xdp/one" if case == "everything" else "/var/lib/xdp-otel/observability-xdp-xdp-otel"
    )


@pytest.mark.parametrize(
    ("case", "endpoint", "base_point"),
    [
        ("default", "http://localhost:4317", "true"),
        ("gateway", "http://xdp-xdp-otel-gateway.observability.svc:4317", "true"),
        ("scale", "https://localhost:4317", "true"),
        ("endpoint", "https://otel.example.com:4317", "false"),
    ],
)
def test_where_it_sends(renders, case, endpoint, base_point):
    """The mode decides which Collector the sidecar exports to; base points go only to ours."""
    said = environment(sidecar(renders[case])[1])
    assert (said["OTEL_EXPORTER_OTLP_ENDPOINT"], said["XDP_OTEL_BASE_POINT"]) == (endpoint, base_point)


def test_resource_attributes(renders):
    """Node, pod and cluster are given, percent-encoded; the instance id comes from the state directory."""
    said = environment(sidecar(renders["everything"])[1])["OTEL_RESOURCE_ATTRIBUTES"].split(",")
    assert said == [
        "host.name=$(K8S_NODE_NAME)",
        "k8s.node.name=$(K8S_NODE_NAME)",
        "k8s.pod.name=$(K8S_POD_NAME)",
        "k8s.pod.uid=$(K8S_POD_UID)",
        "k8s.namespace.name=observability",
        "k8s.daemonset.name=xdp-packets",
        "k8s.cluster.name=fra%201%2Fa",
        "deployment.environment.name=prod%2C%20eu",
        "rack=7",
    ]


@pytest.mark.parametrize("case", ["gateways", "openshift", "scale"])
def test_namespace_override(case):
    """No object and no address stays in the release's namespace."""
    for it in render(*CASES[case], "--set=namespaceOverride=counting"):
        if it["kind"] != "SecurityContextConstraints":
            assert it["metadata"]["namespace"] == "counting", name_of(it)
        assert "observability" not in yaml.safe_dump(it), name_of(it)


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "docker.io/grafana/grafana:13.2.0"),
        (
            {"grafana.image.registry": "mirror.example.com/hub"},
            "mirror.example.com/hub/grafana/grafana:13.2.0",
        ),
        ({"grafana.image.repository": "team/grafana"}, "docker.io/team/grafana:13.2.0"),
        # As before the registry had a value of its own.
        ({"grafana.image.repository": "localhost/grafana"}, "localhost/grafana:13.2.0"),
        ({"grafana.image.repository": "quay.io:443/a/grafana"}, "quay.io:443/a/grafana:13.2.0"),
        (
            {"global.imageRegistry": "one", "grafana.image.repository": "quay.io/a/grafana"},
            "one/a/grafana:13.2.0",
        ),
        ({"global.imageRegistry": "one", "grafana.image.registry": "two"}, "one/grafana/grafana:13.2.0"),
        ({"grafana.image.registry": "", "grafana.image.tag": "1"}, "grafana/grafana:1"),
        (
            {"grafana.image.registry": "two", "grafana.image.digest": f"sha256:{0:064}"},
            f"two/grafana/grafana@sha256:{0:064}",
        ),
    ],
)
def test_image(values, image):
    """The global registry wins over one in the repository, which wins over the image's own."""
    objects = render(*(f"--set-string={path}={value}" for path, value in values.items()))
    assert pod_spec(one(objects, "Deployment", "xdp-xdp-otel-grafana"))["containers"][0]["image"] == image


@pytest.mark.parametrize("case", ["everything", "privileged", "gateways"])
def test_se_linux_options(case):
    """Every container and pod of the chart's own can be given any field of a securityContext."""
    places = [
        *(f"{part}.{name}" for part in ("sidecar", "gateway", "hooks") for name in CONTEXTS),
        *(f"{part}.securityContext" for part in ("prometheus", "grafana")),
        *(f"{part}.containerSecurityContext" for part in ("prometheus", "grafana")),
        "bpffs.securityContext",
        "collector.securityContext",
    ]
    objects = render(*CASES[case], *(f"--set={place}.seLinuxOptions.role=ours" for place in places))
    for it in objects:
        spec = pod_spec(it)
        if spec is None:
            continue
        assert spec["securityContext"]["seLinuxOptions"]["role"] == "ours", name_of(it)
        for container in containers(spec):
            if container["name"] != "first":
                assert container["securityContext"]["seLinuxOptions"]["role"] == "ours", container["name"]


def test_autoscaled_gateways(renders):
    """The number of gateways is the autoscaler's: an upgrade does not set it back."""
    (scaler,) = (it for it in renders["gateways"] if it["kind"] == "HorizontalPodAutoscaler")
    target = one(renders["gateways"], "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
    assert "replicas" not in target["spec"]
    assert one(renders["gateways"], "PodDisruptionBudget", name_of(target).partition("/")[2])


def test_openshift(renders):
    """The constraints allow what the sidecar's pods ask for, and nothing that they do not."""
    allowed = one(renders["openshift"], "SecurityContextConstraints", "observability-xdp-xdp-otel")
    daemonset, _ = sidecar(renders["openshift"])
    spec = pod_spec(daemonset)
    assert allowed["users"] == [f"system:serviceaccount:observability:{spec['serviceAccountName']}"]
    assert (allowed["allowHostNetwork"], allowed["allowHostPorts"]) == (True, True)
    assert sorted(allowed["allowedCapabilities"]) == added_capabilities(renders["openshift"])
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= set(allowed["volumes"])
    assert allowed["allowPrivilegedContainer"] is False
    pins = render(*CASES["openshift"], *CASES["pins"])
    (allowed,) = (it for it in pins if it["kind"] == "SecurityContextConstraints")
    assert (allowed["allowHostNetwork"], allowed["allowedCapabilities"]) == (False, ["BPF"])


def test_config_rolls():
    """A change of the configuration file restarts the sidecars."""
    checksums = {
        pod_annotations("--set-json", f'sidecar.config={{"sources":[{{"interface":"{name}"}}]}}')[
            "checksum/config"
        ]
        for name in ("eth0", "eth1")
    }
    assert len(checksums) == 2


def pod_annotations(*arguments):
    return one(render(*arguments), "DaemonSet")["spec"]["template"]["metadata"]["annotations"]


def test_service_survives_every_change_of_mode():
    """No Service of one name has a cluster IP in one mode and none in another: that field is immutable."""
    headless = {}
    for mode in ("sidecar", "gateway", "agent"):
        for it in render(f"--set=collector.mode={mode}"):
            if it["kind"] == "Service":
                name, is_headless = name_of(it), it["spec"].get("clusterIP") == "None"
                assert headless.setdefault(name, is_headless) == is_headless, (mode, name)


@pytest.mark.parametrize("case", CASES)
def test_policies(renders, case):
    """Every pod with a network of its own has a policy for both directions."""
    policies = [it["spec"] for it in renders[case] if it["kind"] == "NetworkPolicy"]
    for it in renders[case]:
        spec = pod_spec(it)
        if spec is None or spec.get("hostNetwork"):
            continue
        labels = (it if it["kind"] == "Pod" else it["spec"]["template"])["metadata"]["labels"]
        own = [
            policy for policy in policies if policy["podSelector"]["matchLabels"].items() <= labels.items()
        ]
        # What detaches talks to nobody, and needs no policy for that.
        expected = [] if name_of(it).endswith("-detach") else [["Ingress", "Egress"]]
        assert [policy["policyTypes"] for policy in own] == expected, name_of(it)
