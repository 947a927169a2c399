# SPDX-License-Identifier: Apache-2.0
"""
The chart as Helm renders it, and the cases under test.

`python -m tests.chart.chart` (`make goldens`) updates the chart's copies of other files and renders all cases
again.
"""

import os
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
GOLDEN = Path(__file__).parent / "golden"
VALUES = Path(__file__).parent / "values"

# A chart cannot read files outside its directory. Dashboards and rules are written there by their generator.
COPIES = {
    ROOT / f"collector/{name}.yaml": CHART / f"collector/{name}.yaml"
    for name in ("agent", "config", "gateway", "tls")
}

CASES = {
    "default": [],
    "gateway": ["--set=collector.mode=gateway"],
    "scale": ["--values=helm/values-gateway.yaml"],
    "privileged": ["--values=helm/values-privileged.yaml"],
    "limits": ["--values=helm/values-limits.yaml"],
    "openshift": ["--values=helm/values-openshift.yaml"],
} | {path.stem: [f"--values={path.relative_to(ROOT)}"] for path in sorted(VALUES.glob("*.yaml"))}


def helm(*arguments):
    """Run Helm in the repository's root; return the finished process."""
    found = sorted((ROOT / ".build/bin").glob("helm-v*"))
    program = os.environ.get("HELM") or (str(found[-1]) if found else "")
    assert program, "no Helm: `make chart` builds it"
    return subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def render(*arguments):
    """Return the rendered objects in Helm's order; raise AssertionError with Helm's message."""
    done = helm("template", "xdp", "helm", "--namespace=observability", "--kube-version=1.37", *arguments)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def name_of(one):
    return f"{one['kind']}/{one['metadata']['name']}"


def pod_spec(one):
    """Return the pod specification of an object, or None."""
    if one["kind"] == "Pod":
        return one["spec"]
    return one["spec"]["template"]["spec"] if one["kind"] in ("DaemonSet", "Deployment") else None


def containers(spec):
    return [*spec.get("initContainers", []), *spec["containers"]]


def one(objects, kind, name="xdp-xdp-otel"):
    return next(it for it in objects if name_of(it) == f"{kind}/{name}")


def sidecar(objects):
    """Return the sidecar's DaemonSet and container."""
    daemonset = next(
        it for it in objects if it["kind"] == "DaemonSet" and not name_of(it).endswith("-detach")
    )
    return daemonset, next(it for it in containers(pod_spec(daemonset)) if it["name"] == "sidecar")


def environment(container):
    return {it["name"]: it.get("value") for it in container["env"]}


def golden(case, objects, default):
    """Return the golden text: what differs from the default, without random or separately tested parts."""
    same = [one for one in default if case != "default" and one in objects]
    documents = [_plain(one) for one in objects if one not in same]
    gone = sorted({name_of(one) for one in default} - {name_of(one) for one in objects})
    head = f"# helm template xdp helm --namespace observability {' '.join(CASES[case])}".rstrip() + "\n"
    head += "".join(f"# as by default: {name_of(one)}\n" for one in same)
    head += "".join(f"# not there: {name}\n" for name in gone)
    return head + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)


class _Dumper(yaml.SafeDumper):
    pass


def _string(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def _plain(value, key=""):
    if isinstance(value, dict):
        if value.get("kind") == "Secret":
            value = {**value, "data": dict.fromkeys(value["data"], "<generated>")}
        return {name: _plain(one, name) for name, one in value.items()}
    if key == "groups":
        return "<helm/alerts>"
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if key.startswith("checksum/"):
        return "<checksum>"
    if isinstance(value, str) and (value.count("\n") > 5 or key.endswith(".json")):
        return _by_name(value, key)
    return value


def _by_name(text, key):
    for path in (*CHART.glob("files/*.py"), *CHART.glob("collector/*"), *CHART.glob("alerts/*")):
        if path.read_text().strip() == text.strip():
            return f"<{path.relative_to(ROOT)}>"
    return text if not key.endswith(".json") else f"<helm/dashboards/{key}>"


def main():
    for source, copy in COPIES.items():
        shutil.copyfile(source, copy)
    default = render()
    for case, arguments in CASES.items():
        (GOLDEN / f"{case}.yaml").write_text(golden(case, render(*arguments), default))
    for stale in {path.stem for path in GOLDEN.glob("*.yaml")} - set(CASES):
        (GOLDEN / f"{stale}.yaml").unlink()


if __name__ == "__main__":
    main()
