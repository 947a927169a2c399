# SPDX-License-Identifier: Apache-2.0
"""The names of Prometheus' own OTLP receiver; tests/e2e/test_without_collector.py has them from it."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="grafana-foundation-sdk needs Python 3.11")


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (("xdp.packets.total", "{packet}", "counter"), "xdp_packets_total"),
        (("xdp.bytes.total", "By", "counter"), "xdp_bytes_total"),
        (("xdp.packets.tcp", "{packet}", "counter"), "xdp_packets_tcp_total"),
        (("xdp.packets.rate", "{packet}/s", "rate"), "xdp_packets_rate_per_second"),
        (("xdp.packet.size", "By", "histogram"), "xdp_packet_size_bytes"),
        (("xdp.program.run_time", "ns", "counter"), "xdp_program_run_time_nanoseconds_total"),
        (("xdp.otel.batch.age", "s", "gauge"), "xdp_otel_batch_age_seconds"),
    ],
)
def test_a_unit_and_total_are_appended_once(metric, name):
    from dashboards.otlp_names import receiver_name  # noqa: PLC0415

    assert receiver_name(*metric) == name


def test_alerts_pass_their_unit_tests_under_these_names_too(root, promtool, tmp_path):
    """Those about a Collector are left out, and so are their tests."""
    from dashboards.otlp_names import rules  # noqa: PLC0415

    for path in (root / "deploy/without-collector/rules").glob("*.yml"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "tests").mkdir()
    tests = [
        path
        for path in (root / "deploy/prometheus/rules/tests").glob("*.yml")
        if not re.search("alertname: Xdp(Collector|Scrape)(?!Unreachable)", path.read_text())
    ]
    for path in tests:
        (tmp_path / "tests" / path.name).write_text(rules(path.read_text()))
    made = sorted((tmp_path / "tests").iterdir())
    done = subprocess.run([promtool, "test", "rules", *made], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(made) >= 3
