# SPDX-License-Identifier: Apache-2.0
"""The cluster of KUBECONFIG, by kubectl and Helm."""

import json
import os
import subprocess
import urllib.parse

from demo.errors import DemoError
from tests.chart.chart import ROOT, helm

KUBECTL = os.environ.get("KUBECTL", "kubectl")
# What the images are called in the cluster (`make images image-prometheus image-grafana`).
PREFIX = os.environ.get("IMAGE_PREFIX", "localhost")
VERSION = (ROOT / "sidecar/__init__.py").read_text().partition('__version__ = "')[2].partition('"')[0]


class ClusterError(DemoError):
    """A command failed."""


def kubectl(*arguments, stdin=None, check=True):
    """Return what kubectl prints; raise ClusterError with what it says if it fails and *check*."""
    done = subprocess.run([KUBECTL, *arguments], input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def get(*arguments):
    """Return objects as kubectl gets them."""
    return json.loads(kubectl("get", *arguments, "--output=json"))


def helm_here(*arguments, check=True):
    """Run Helm; return the finished process, or raise ClusterError if it fails and *check*."""
    done = helm(*arguments)
    if check and done.returncode != 0:
        raise ClusterError(f"helm {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def ask(namespace, service, port, path, **query):
    """Return what a Service answers, asked by way of the API server."""
    query = f"?{urllib.parse.urlencode(query)}" if query else ""
    proxy = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy"
    return kubectl("get", "--raw", f"{proxy}/{path}{query}")
