"""A figure of a store's measures: the mean curve of every method, its interval of 95 %, and that of random maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

# Told apart also by those who see fewer colours (Okabe, Ito).
COLOURS = ["#d6006c", "#0072b2", "#e69f00", "#009e73", "#56b4e9", "#d55e00", "#7b61a8"]
RANDOM = "#888888"


def draw(manifest: dict[str, Any], file: Path) -> None:
    """Write the figure as a PNG: a panel for every measure with a curve, and one for the means of the others."""
    told, measures = manifest["faithfulness"], manifest["measures"]
    titles = {method["id"]: method["title"] for method in manifest["methods"]}
    curves = [m for m in measures if any("curve" in own.get(m["id"], {}) for own in told.values())]
    others = [m for m in measures if m not in curves]
    panels = max(1, len(curves) + len(others))
    figure, axes = pyplot.subplots(1, panels, figsize=(3.6 * panels, 3.8), layout="constrained", squeeze=False)
    for axis, measure in zip(axes[0], [*curves, *others], strict=False):
        better = {"higher": "higher is better", "lower": "lower is better"}[measure["better"]]
        axis.set_title(f"{measure['title']}, {better}", fontsize=10)
        axis.grid(color="#dddddd", linewidth=0.6)
        if measure in curves:
            _curves(axis, measure, told, titles)
        else:
            _means(axis, measure, told, titles)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)


def _curves(axis: Any, measure: dict[str, Any], told: dict[str, Any], titles: dict[str, str]) -> None:
    lines = [(titles.get(name, name), own.get(measure["id"], {}), "curve") for name, own in told.items()]
    lines.append(("random maps", next(iter(told.values())).get(measure["id"], {}), "random_curve"))
    for number, (title, own, which) in enumerate(lines):
        curve = own.get(which, {})
        if not curve or curve["mean"] is None:
            continue
        colour = RANDOM if which == "random_curve" else COLOURS[number % len(COLOURS)]
        at, mean, low, high = (
            np.array(v, np.float64) for v in (own["at"], *(curve[k] for k in ("mean", "low", "high")))
        )
        axis.plot(at, mean, color=colour, label=title, linestyle="--" if which == "random_curve" else "-")
        axis.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        if at[0] > 0 and at[-1] > 20 * at[0]:
            axis.set_xscale("log")
    axis.set_xlabel(measure["axis"])


def _means(axis: Any, measure: dict[str, Any], told: dict[str, Any], titles: dict[str, str]) -> None:
    for number, own in enumerate(told.values()):
        found = own.get(measure["id"])
        if found and found["mean"] is not None:
            error = None if found["high"] is None else found["high"] - found["mean"]
            axis.barh(
                number, found["mean"], xerr=error, color=COLOURS[number % len(COLOURS)], error_kw={"linewidth": 1}
            )
    axis.set_yticks(range(len(told)), [titles.get(name, name) for name in told], fontsize=8)
    axis.invert_yaxis()
