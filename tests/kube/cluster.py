# SPDX-License-Identifier: Apache-2.0
"""The cluster of KUBECONFIG, by kubectl and Helm."""

import json
import os
import subprocess
import urllib.parse

from demo.errors import DemoError
from tests.chart.chart import ROOT, helm

KUBECTL = os.environ.get("KUBECTL", "kubectl")
# The registry prefix of the images (`make images image-prometheus image-grafana`).
PREFIX = os.environ.get("IMAGE_PREFIX", "localhost")
VERSION = (ROOT / "sidecar/__init__.py").read_text().partition('__version__ = "')[2].partition('"')[0]


class ClusterError(DemoError):
    """A command failed."""


def kubectl(*arguments, stdin=None, check=True):
    """Return kubectl's output; with *check*, raise ClusterError if it fails."""
    done = subprocess.run([KUBECTL, *arguments], input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def get(*arguments):
    """Return objects as parsed JSON."""
    return json.loads(kubectl("get", *arguments, "--output=json"))


def helm_here(*arguments, check=True):
    """Run Helm and return the finished process; with *check*, raise ClusterError if it fails."""
    done = helm(*arguments)
    if check and done.returncode != 0:
        raise ClusterError(f"helm {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def ask(namespace, service, port, path, **query):
    """Return the response of a Service to the probe of its namespace: policies shut the API's proxy out."""
    url = f"http://{service}:{port}/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    fetch = (
        "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
    )
    where = f"--namespace={namespace}"
    return kubectl("exec", "probe", where, "--", "python3", "-c", fetch, url)
