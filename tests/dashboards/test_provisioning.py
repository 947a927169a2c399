# SPDX-License-Identifier: Apache-2.0
"""The files that Grafana reads at startup."""

import yaml

# pkg/services/provisioning/{datasources,dashboards} in Grafana: it silently ignores any other key.
DATASOURCE = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
PROVIDER = {"name", "folder", "type", "allowUiUpdates", "disableDeletion", "updateIntervalSeconds", "options"}


def load(root, name):
    return yaml.safe_load((root / "deploy/grafana/provisioning" / name).read_text())


def test_the_datasource_has_a_fixed_address_and_the_scrape_interval(root):
    """Its uid never changes, and its interval, the basis of $__rate_interval, is Prometheus' own."""
    file = load(root, "datasources/prometheus.yaml")
    (found,) = file["datasources"]
    prometheus = yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())

    assert {"apiVersion", "prune", "datasources"} == set(file)
    assert set(found) == DATASOURCE
    assert ("xdp-prometheus", "prometheus", True) == (found["uid"], found["type"], found["isDefault"])
    assert found["url"] == "${PROMETHEUS_URL}"
    assert found["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_the_provider_reads_a_directory_of_dashboards(root):
    """Dashboards come from files only."""
    file = load(root, "dashboards/xdp.yaml")
    (found,) = file["providers"]

    assert {"apiVersion", "providers"} == set(file)
    assert set(found) == PROVIDER
    assert found["type"] == "file"
    assert found["options"]["path"].startswith("/")
    assert not found["allowUiUpdates"]
