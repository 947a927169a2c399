# SPDX-License-Identifier: Apache-2.0
"""Draw the curves of bench/results.json into docs/images: `python -m bench.plot`, after `make bench`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from bench.place import HERE, ROOT

_IMAGES = ROOT / "docs/images"
_LINE = "#1f60c4"
_CURVES = {
    "series": "series (this machine's CPUs)",
    "cpus": "possible CPUs, simulated (1,000 keys)",
    "cpus in columns": "possible CPUs, simulated (10,000 keys)",
}


def main() -> None:
    """Write growth.svg and beside.svg."""
    results = json.loads((HERE / "results.json").read_text())
    _IMAGES.mkdir(parents=True, exist_ok=True)
    if results["curves"]:
        _growth(results["curves"], results["machine"])
    _beside(results["rows"], results["machine"])


def _growth(curves: Mapping[str, Sequence[Sequence[float]]], machine: Mapping[str, str]) -> None:
    figure, axes = plt.subplots(1, len(_CURVES), figsize=(5 * len(_CURVES), 4), layout="constrained")
    for axis, (name, label) in zip(axes, _CURVES.items(), strict=True):
        xs, ys = zip(*curves[name], strict=True)
        axis.loglog(xs, ys, "o-", color=_LINE, label="read + sum + delta + encode")
        linear = [ys[-1] * x / xs[-1] for x in xs]
        axis.loglog(xs, linear, "--", color="#999999", label="linear")
        axis.set(xlabel=label, ylabel="CPU ms, all keys changed")
        axis.grid(visible=True, which="major", alpha=0.3)
        axis.legend()
    _save(figure, "growth", machine)


def _beside(rows: Sequence[Mapping[str, Any]], machine: Mapping[str, str]) -> None:
    """Draw each figure that has a goal for its ratio, relative to its reference."""
    shown = [row for row in rows if row["ratio"] and row["reference"] and row["goal"].endswith(" x")]
    if not shown:
        return
    figure, axis = plt.subplots(figsize=(10, 0.6 + 0.6 * len(shown)), layout="constrained")
    names = [f"{row['name']}\nbeside {row['against']}" for row in shown]
    axis.barh(names, [row["value"] / row["reference"] for row in shown], color=_LINE)
    axis.axvline(1, color="#999999")
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.set_xlabel("times the reference (less is cheaper)")
    _save(figure, "beside", machine)


def _save(figure: Any, name: str, machine: Mapping[str, str]) -> None:
    figure.suptitle(f"{machine['cpu']}, Linux {machine['kernel']}, load {machine['load']}", fontsize=8)
    # No date and fixed ids: the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(_IMAGES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
