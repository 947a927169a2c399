# SPDX-License-Identifier: Apache-2.0
"""Wait until every pod of a DaemonSet is ready. Usage: wait.py NAMESPACE NAME SECONDS."""

import json
import os
import ssl
import sys
import time
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
NAMESPACE, NAME, SECONDS = sys.argv[1], sys.argv[2], int(sys.argv[3])
HOST = os.environ["KUBERNETES_SERVICE_HOST"]
URL = (
    f"https://{f'[{HOST}]' if ':' in HOST else HOST}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{NAME}"
)


def status() -> dict:
    """Return the status of the DaemonSet."""
    with open(f"{ACCOUNT}/token") as token:
        request = urllib.request.Request(URL, headers={"Authorization": f"Bearer {token.read()}"})
    trusted = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with urllib.request.urlopen(request, context=trusted, timeout=10) as response:
        return json.load(response)["status"]


deadline = time.monotonic() + SECONDS
said = "nothing yet"
while time.monotonic() < deadline:
    try:
        now = status()
        wanted, ready = now.get("desiredNumberScheduled", 0), now.get("numberReady", 0)
        said = f"{ready} of {wanted} nodes are done"
        if now.get("observedGeneration") and ready == wanted:
            print(said)
            sys.exit()
    except OSError as error:
        said = str(error)
    time.sleep(1)
sys.exit(f"wait for {NAME}: {said} after {SECONDS} s: the logs of its pods say why; --no-hooks goes without")
