# SPDX-License-Identifier: Apache-2.0
"""
The picture in the documentation: the overview's panels, drawn by matplotlib from their own queries.

`python -m dashboards.picture` runs the stack for a minute and draws the results. It is not a screenshot of
Grafana, and its caption says so.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib.dates
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter

from dashboards.files import DASHBOARDS, ROOT
from dashboards.live import live
from dashboards.questions import course, everything, fill, legend
from demo.ports import Ports
from demo.progress import step

PICTURE = ROOT / "docs/images/overview.png"
LABEL = "Drawn by matplotlib from the dashboard's own queries, not a Grafana screenshot."
SHOWN_S = 60
PANELS = (
    "Packets by protocol",
    "Packets by IP version",
    "TCP and IPv6",
    "Bandwidth by node and interface",
)
_UNITS: dict[str, Any] = {"pps": EngFormatter("p/s"), "bps": EngFormatter("b/s"), "percent": "{x:.0f} %"}

Values = Mapping[str, str]


def main() -> None:
    """Run the stack and draw the picture."""
    dashboard = json.loads((DASHBOARDS / "xdp-overview.json").read_text())
    with tempfile.TemporaryDirectory(prefix="xdp-picture-") as directory, live(Path(directory)) as ports:
        with step(f"Wait {SHOWN_S} s for something to show"):
            time.sleep(SHOWN_S + 15)
        values = everything(ports, dashboard)
        with step(f"Draw {PICTURE.relative_to(ROOT)}"):
            draw(ports, dashboard, values)


def draw(ports: Ports, dashboard: Mapping[str, Any], values: Values) -> None:
    """Run each panel's queries and draw the results side by side."""
    by_title = {panel["title"]: panel for panel in dashboard["panels"]}
    figure, axes = plt.subplots(2, 2, figsize=(10, 5), layout="constrained")
    for place, title in zip(axes.flat, PANELS, strict=True):
        _panel(place, by_title[title], ports, values)
    figure.suptitle(dashboard["title"], fontsize=11)
    figure.supxlabel(LABEL, fontsize=7, color="dimgrey")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})


def _panel(axes: Any, panel: Mapping[str, Any], ports: Ports, values: Values) -> None:
    end = time.time()
    names, lines, times = [], [], []
    for target in panel["targets"]:
        expr = fill(target["expr"], values, rate_interval="10s")
        for labels, points in course(ports, expr, end - SHOWN_S, end, 1):
            names.append(legend(fill(target["legendFormat"], values), labels))
            times.append([datetime.fromtimestamp(at).astimezone() for at, _ in points])
            lines.append([value for _, value in points])
    defaults = panel["fieldConfig"]["defaults"]
    if "stacking" in defaults["custom"]:
        axes.stackplot(times[0], *lines, labels=names, alpha=0.6)
    else:
        for at, line, name in zip(times, lines, names, strict=True):
            axes.plot(at, line, label=name)
    axes.set_title(panel["title"], fontsize=9, loc="left")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_UNITS[defaults["unit"]])
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M:%S"))
    axes.xaxis.set_major_locator(matplotlib.dates.AutoDateLocator(maxticks=5))
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, alpha=0.2)
    axes.legend(fontsize=7, loc="lower left", ncols=4, frameon=False)


if __name__ == "__main__":
    main()
