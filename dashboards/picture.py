# SPDX-License-Identifier: Apache-2.0
"""
The picture in the documentation: the overview's panels, drawn by matplotlib from their own queries.

`python -m dashboards.picture` draws the simulated day of `dashboards.day`. It is not a screenshot of Grafana,
and its caption says so.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import matplotlib.dates
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter

from dashboards.day import BEGIN, END, day
from dashboards.files import DASHBOARDS, ROOT
from dashboards.questions import course, everything, fill, legend
from demo.ports import Ports
from demo.progress import step

PICTURE = ROOT / "docs/images/overview.png"
LABEL = "A simulated day, drawn by matplotlib from the dashboard's own queries; not a Grafana screenshot."
STATES = ("Critical alerts", "Warnings", "Silent nodes", "Last delivery", "Not ready", "Nodes")
PANELS = (
    "Age of the last delivery",
    "Packets by protocol",
    "Packets by IP version",
    "Bandwidth by node and interface",
)
STEP_S = 60
_UNITS: dict[str, Any] = {
    "pps": EngFormatter("p/s"),
    "bps": EngFormatter("b/s"),
    "percent": "{x:.0f} %",
    "s": "{x:.0f} s",
}
# Grafana's own shades.
_COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}

Values = Mapping[str, str]
Panel = Mapping[str, Any]


def main() -> None:
    """Run Prometheus with the simulated day and draw the picture."""
    dashboard = json.loads((DASHBOARDS / "xdp-overview.json").read_text())
    with tempfile.TemporaryDirectory(prefix="xdp-picture-") as directory, day(Path(directory)) as ports:
        values = {name: value or ".*" for name, value in everything(ports, dashboard).items()}
        with step(f"Draw {PICTURE.relative_to(ROOT)}"):
            draw(ports, dashboard, values)


def draw(ports: Ports, dashboard: Mapping[str, Any], values: Values) -> None:
    """Run each panel's queries and draw the results: the states in a row, the courses below."""
    by_title = {panel["title"]: panel for panel in dashboard["panels"]}
    figure = plt.figure(figsize=(10, 6.2), layout="constrained")
    states, courses = figure.subfigures(2, 1, height_ratios=(1, 6))
    for place, title in zip(states.subplots(1, len(STATES)).flat, STATES, strict=True):
        _state(place, by_title[title], ports, values)
    for place, title in zip(courses.subplots(2, 2).flat, PANELS, strict=True):
        _course(place, by_title[title], ports, values)
    figure.suptitle(dashboard["title"], fontsize=11)
    figure.supxlabel(LABEL, fontsize=7, color="dimgrey")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})


def _state(axes: Any, panel: Panel, ports: Ports, values: Values) -> None:
    """Draw a number on the colour of its threshold."""
    at = END.timestamp()
    ((_, points),) = course(ports, fill(panel["targets"][0]["expr"], values), at, at, 1)
    number = points[-1][1]
    defaults = panel["fieldConfig"]["defaults"]
    steps = defaults["thresholds"]["steps"]
    colour = [each["color"] for each in steps if each["value"] is None or number >= each["value"]][-1]
    axes.set_facecolor(_COLOURS[colour])
    axes.set(xticks=[], yticks=[])
    axes.set_title(panel["title"], fontsize=8, loc="left")
    unit = " s" if defaults["unit"] == "s" else ""
    axes.text(0.5, 0.45, f"{number:,.0f}{unit}", color="white", fontsize=14, ha="center", va="center")


def _course(axes: Any, panel: Panel, ports: Ports, values: Values) -> None:
    names, lines, times = [], [], []
    for target in panel["targets"]:
        expr = fill(target["expr"], values, rate_interval="5m")
        for labels, points in course(ports, expr, BEGIN.timestamp(), END.timestamp(), STEP_S):
            names.append(legend(fill(target["legendFormat"], values), labels))
            times.append([datetime.fromtimestamp(at, tz=timezone.utc) for at, _ in points])
            lines.append([value for _, value in points])
    defaults = panel["fieldConfig"]["defaults"]
    if "stacking" in defaults["custom"]:
        axes.stackplot(times[0], *lines, labels=names, alpha=0.6)
    else:
        for at, line, name in zip(times, lines, names, strict=True):
            axes.plot(at, line, label=name, linewidth=1)
    if "thresholdsStyle" in defaults["custom"]:
        _thresholds(axes, defaults["thresholds"]["steps"])
    axes.set_title(panel["title"], fontsize=9, loc="left")
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(_UNITS[defaults["unit"]])
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(matplotlib.dates.HourLocator(byhour=range(0, 24, 3)))
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, alpha=0.2)
    axes.legend(fontsize=7, loc="upper left", ncols=2, frameon=False)


def _thresholds(axes: Any, steps: Sequence[Mapping[str, Any]]) -> None:
    for each in steps:
        if each["value"] is not None:
            axes.axhline(each["value"], color=_COLOURS[each["color"]], linestyle="--", linewidth=1)


if __name__ == "__main__":
    main()
