# SPDX-License-Identifier: Apache-2.0
"""The API server, for the pods of Helm's hooks."""

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TIMEOUT_S = 10


def call(path: str, method: str = "GET", **query: str) -> dict:
    """Return the parsed response, empty for a missing object; raise OSError with the server's reason."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    url = f"https://{host}:{port}{path}?{urllib.parse.urlencode(query)}"
    with open(f"{ACCOUNT}/token") as token:
        headers = {"Authorization": f"Bearer {token.read()}"}
    request = urllib.request.Request(url, headers=headers, method=method)
    trusted = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}
        raise OSError(f"{method} {path}: {reason(error)}") from error


def reason(error: urllib.error.HTTPError) -> str:
    """Return the message of the Status that the server sends with an error."""
    try:
        return json.load(error)["message"]
    except (KeyError, ValueError):
        return str(error)


def objects(kind: str, api: str = "api/v1", **query: str) -> list[dict]:
    """Return the objects of a kind in the pod's namespace."""
    return call(f"/{api}/namespaces/{namespace()}/{kind}", **query)["items"]


def namespace() -> str:
    """Return the namespace of this pod."""
    with open(f"{ACCOUNT}/namespace") as file:
        return file.read()


def pods(selector: str) -> dict[str, dict]:
    """Return the pods with these labels that are not being deleted, by node."""
    found = objects("pods", labelSelector=selector)
    return {
        pod["spec"].get("nodeName", "no node"): pod
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
    }


def condition(pod: dict, kind: str) -> str:
    """Return the status of a pod's condition: True, False or Unknown."""
    conditions = pod["status"].get("conditions", [])
    return next((each["status"] for each in conditions if each["type"] == kind), "Unknown")
