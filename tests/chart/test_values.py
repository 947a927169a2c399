# SPDX-License-Identifier: Apache-2.0
"""Which values the chart rejects, and with which message."""

import json

import jsonschema
import pytest
import yaml

from release import chart_values
from tests.chart.chart import CASES, CHART, ROOT, helm

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# Free-form values, and values that Kubernetes or the Collector checks.
FREE = [
    "affinity",
    "annotations",
    "behavior",
    "commonLabels",
    "extraConfig",
    "labels",
    "limits",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "requests",
    "resourceAttributes",
]


def places(values, path=()):
    """Yield the path of every object whose keys the chart defines."""
    yield path
    for name, value in values.items():
        if isinstance(value, dict) and name not in FREE:
            yield from places(value, (*path, name))


def with_one_more(path):
    values = {"noSuchValue": 1}
    for name in reversed(path):
        values = {name: values}
    return values


def test_schema():
    """The schema is valid, and the default values conform to it."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


# Helm's own: other charts' keys are there too.
@pytest.mark.parametrize("path", sorted(set(places(VALUES)) - {("global",)}), ids=".".join)
def test_unknown_key(path):
    """An unknown key is rejected at any level."""
    with pytest.raises(jsonschema.ValidationError, match="noSuchValue"):
        jsonschema.validate(with_one_more(path), SCHEMA)


def test_schema_has_no_more_than_the_values():
    """Every key of the schema is in values.yaml, where users look for it; not those of a securityContext."""

    def unlisted(schema, values, path=()):
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for name, inner in schema.get("properties", {}).items():
            if name not in values:
                yield ".".join((*path, name))
            elif isinstance(values[name], dict) and "Security" not in inner.get("$ref", ""):
                yield from unlisted(inner, values[name], (*path, name))

    optional = {"sidecar.config.sources"}
    optional |= {f"{it}.seccompProfile.localhostProfile" for it in ("sidecar", "collector")}
    assert set(unlisted(SCHEMA, VALUES)) == optional


def test_the_table_in_the_readme():
    """The README has a row for each value, as values.yaml describes it; `make goldens` writes them."""
    readme = chart_values.README.read_text()
    assert readme == chart_values.written(readme, (CHART / "values.yaml").read_text(), SCHEMA)
    assert (
        '| `collector.mode` | `sidecar`, `gateway`, `agent`, `none` | `"sidecar"` | sidecar: next to'
        in readme
    )
    assert "| `sidecar.interval` | number or string | `10` | Seconds between two exports" in readme


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("sidecar.interface=eth0", "at '/sidecar': additional properties 'interface' not allowed"),
        ("sidecar.interfaces=eth0", "at '/sidecar/interfaces': got string, want array"),
        (
            "sidecar.interfaces={eth0/1}",
            'sidecar.interfaces: "eth0/1" is not the name of an interface: at most 15 characters',
        ),
        ("sidecar.interfaces[0]=", 'sidecar.interfaces: "" is not the name of an interface'),
        ("sidecar.interfaces={averylong*/interface}", "is not the name of an interface"),
        ("sidecar.interfaces={averylonginterface}", '"averylonginterface" is not the name of an interface'),
        ("sidecar.maps[0].pin=flows", 'sidecar.maps: "flows" is not the absolute path of a pin'),
        ("sidecar.maps[0].path=/sys/fs/bpf/flows", "additional properties 'path' not allowed"),
        ("sidecar.interval=0", 'sidecar.interval: "0" is not a number of seconds from 0.1 to 86400'),
        ("sidecar.interval=10s", 'sidecar.interval: "10s" is not a number of seconds'),
        ("sidecar.interval=0.05", 'sidecar.interval: "0.05" is not a number of seconds'),
        ("sidecar.interval=86401", "sidecar.interval: 86401 is more than 86400 seconds"),
        ("sidecar.capabilities={bpf}", 'sidecar.capabilities: "bpf" is not a capability such as NET_ADMIN'),
        ("sidecar.maxUnavailable=0", 'sidecar.maxUnavailable: "0" is not a number from 1, or a percentage'),
        ("sidecar.privileged=yes", "at '/sidecar/privileged': got string, want boolean"),
        (
            "sidecar.state.hostPath=/data",
            'sidecar.state.hostPath: "/data" is not a path of at least two directories',
        ),
        (
            "sidecar.state.hostPath=/var/lib/../../etc",
            '"/var/lib/../../etc" is not a path of at least two directories',
        ),
        (
            "collector.mode=daemonset",
            "at '/collector/mode': value must be one of 'sidecar', 'gateway', 'agent', 'none'",
        ),
        (
            "collector.endpoint=otel:4317",
            'collector.endpoint: "otel:4317" is not http://HOST:PORT or https://HOST:PORT',
        ),
        ("ports.otlp=70000", "at '/ports/otlp': maximum: got 70,000, want 65,535"),
        (
            "prometheus.retention.time=long",
            'prometheus.retention.time: "long" is not a duration such as 15s or 2h',
        ),
        (
            "grafana.image.registry=docker.io/",
            '"docker.io/" is not a registry without https:// and without /',
        ),
        ("namespaceOverride=Team_A", 'namespaceOverride: "Team_A" is not the name of a namespace'),
        ("global.imageRegistry=https://mirror", '"https://mirror" is not a registry without https://'),
        ("monitoring.podMonitor.scrapeTimeout=10sec", 'scrapeTimeout: "10sec" is not a duration such as 15s'),
        (
            "gateway.podDisruptionBudget.maxUnavailable=0",
            'gateway.podDisruptionBudget.maxUnavailable: "0" is not a number from 1, or a percentage',
        ),
        ("sidecar.securityContext.runAsuser=0", "additional properties 'runAsuser' not allowed"),
        ("prometheus.storage.type=disk", "at '/prometheus/storage/type'"),
        (
            "prometheus.securityContext.runAsUser=0",
            "at '/prometheus/securityContext/runAsUser': minimum: got 0, want 1",
        ),
        ("grafana.adminPassword=admin", "at '/grafana': additional properties 'adminPassword' not allowed"),
    ],
)
def test_malformed(argument, said):
    """A malformed value is rejected before the installation, with its path, in words instead of a pattern."""
    done = helm("template", "xdp", "helm", "--kube-version=1.37", "--set", argument)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"sidecar": {"interfaces": ["eth0"], "config": {"sources": [{"interface": "eth1"}]}}},
            "sidecar.config: interfaces or maps are set too: write them into config.sources",
        ),
        (
            {"sidecar": {"config": {"sources": [{"interface": "eth1", "netns": "blue"}]}}},
            "sidecar.config: netns of eth1: a pod is in the node's or its own: leave it out",
        ),
        (
            {"commonLabels": {"app.kubernetes.io/name": "mine"}},
            "commonLabels: app.kubernetes.io/name is a label of the chart's own: choose another key",
        ),
        (
            {"gateway": {"podLabels": {"app.kubernetes.io/component": "mine"}}},
            "gateway.podLabels: app.kubernetes.io/component is a label of the chart's own",
        ),
        (
            {"collector": {"memoryLimitMiB": 512}},
            "collector.memoryLimitMiB: 512 MiB is not below the container's limit, 512Mi: "
            "set collector.resources.limits.memory higher, or this lower",
        ),
        (
            {"collector": {"mode": "gateway"}, "gateway": {"memoryLimitMiB": 2000}},
            "gateway.memoryLimitMiB: 2000 MiB is not below the container's limit, 1Gi",
        ),
        (
            {"sidecar": {"hostNetwork": False}},
            "sidecar.hostNetwork: false, but an interface of the node is read: leave it null",
        ),
        (
            {"collector": {"mode": "none"}},
            "collector.mode: none, but no collector.endpoint: set it to the Collector that is there",
        ),
        (
            {"collector": {"endpoint": "http://otel:4317"}},
            "collector.endpoint: nobody reads it with collector.mode sidecar: set the mode to none",
        ),
        (
            {"gateway": {"remoteWrite": {"url": "https://mimir/api/v1/push"}}},
            "gateway.remoteWrite.url: nobody writes to it with collector.mode sidecar: set the mode to agent",
        ),
        (
            {"ports": {"metrics": 9090, "status": 9090}},
            "ports: metrics and status are both 9090: give each its own",
        ),
        (
            {"collector": {"mode": "gateway"}, "gateway": {"replicas": 3}},
            "gateway.replicas: with collector.mode gateway the one Collector keeps the totals: set it to 1, "
            "or the mode to agent",
        ),
        (
            {"collector": {"mode": "gateway"}, "gateway": {"autoscaling": {"enabled": True}}},
            "gateway.autoscaling: with collector.mode gateway the one Collector keeps the totals: disable "
            "it, or set the mode to agent",
        ),
        (
            {"gateway": {"autoscaling": {"enabled": True}}},
            "gateway.autoscaling: there is no gateway with collector.mode sidecar: disable it, or set the",
        ),
        (
            {"gateway": {"autoscaling": {"minReplicas": 6}}},
            "gateway.autoscaling: minReplicas 6 is more than maxReplicas 5: lower one, or raise the other",
        ),
        (
            {
                "collector": {"mode": "agent"},
                "gateway": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
            },
            "gateway.autoscaling: the target is a percentage of gateway.resources.requests.cpu: set it",
        ),
        (
            {
                "collector": {"mode": "none", "endpoint": "http://otel:4317", "basePoint": True},
                "sidecar": {"temporality": "cumulative"},
            },
            "collector.basePoint: it is for deltas, and sidecar.temporality is cumulative: leave one out",
        ),
        (
            {"collector": {"mode": "agent"}, "prometheus": {"outOfOrderTimeWindow": "1d"}},
            "prometheus.outOfOrderTimeWindow: the base points of deltas would be stored as late samples, and "
            "look like resets: set sidecar.temporality to cumulative",
        ),
        (
            {"collector": {"mode": "agent"}, "prometheus": {"enabled": False}, "grafana": {"enabled": False}},
            "gateway.remoteWrite.url: empty, and no Prometheus of this release to write to: set it",
        ),
        (
            {"collector": {"mode": "none", "endpoint": "https://otel:4317"}, "tls": {"enabled": True}},
            "tls.clientSecret: empty, and a Collector that is there already trusts no generated one: set it",
        ),
        (
            {"tls": {"enabled": True, "serverSecret": "mine"}},
            "tls: one Secret is given, and a generated one trusts only the other generated one: give both, "
            "or none",
        ),
        (
            {"prometheus": {"enabled": False}},
            "grafana.prometheusUrl: empty, and no Prometheus of this release: set it, or disable grafana",
        ),
        (
            {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
            "monitoring: podMonitor and serviceMonitor would scrape the same twice: enable one",
        ),
        (
            {"grafana": {"ingress": {"enabled": True}}},
            "grafana.ingress.hosts: empty: set it to the names under which Grafana is reached",
        ),
        (
            {"grafana": {"httpRoute": {"enabled": True}}},
            "grafana.httpRoute.parentRefs: empty: name the Gateway, as [{name: …, namespace: …}]",
        ),
        (
            {"prometheus": {"storage": {"type": "hostPath"}}},
            "prometheus.storage.hostPath: empty: set it to a directory of the node",
        ),
    ],
    ids=lambda it: it.partition(":")[0] if isinstance(it, str) else "",
)
def test_refused_together(tmp_path, values, said):
    """Incompatible values are rejected with the problem and the remedy."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = helm("template", "xdp", "helm", "--kube-version=1.37", "--values", str(file))
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_shipped_values_files():
    """Every values file of the chart is rendered as a case."""
    used = {argument.partition("=")[2] for arguments in CASES.values() for argument in arguments}
    assert {str(path.relative_to(ROOT)) for path in CHART.glob("values-*.yaml")} <= used


def test_a_release_with_dots_in_its_name_has_objects_without():
    """The API server rejects dots in the name of a Service."""
    done = helm("template", "net.xdp", "helm", "--kube-version=1.37")

    assert "\n  name: net-xdp-xdp-otel-prometheus\n" in done.stdout, done.stderr
    assert "name: net.xdp" not in done.stdout


def test_an_interval_below_a_second_can_be_set_on_the_command_line():
    """Helm's --set turns a decimal number into a string."""
    done = helm("template", "xdp", "helm", "--kube-version=1.37", "--set", "sidecar.interval=0.5")
    assert (done.returncode, "- --interval=0.5\n" in done.stdout) == (0, True), done.stderr
