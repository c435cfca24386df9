"""A figure of a store's measures: each method's mean curve with its 95 % interval, and that of random maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

# Distinguishable with colour vision deficiency, too (Okabe, Ito).
COLOURS = ["#d6006c", "#0072b2", "#e69f00", "#009e73", "#56b4e9", "#d55e00", "#7b61a8"]
RANDOM = "#888888"
_BETTER = {"higher": "higher is better", "lower": "lower is better"}


def draw(manifest: dict[str, Any], file: Path) -> None:
    """Write a PNG with a panel for each measure that has a curve, and then one for the means of each other measure."""
    means, measures = manifest["faithfulness"], manifest["measures"]
    titles = {method["id"]: method["title"] for method in manifest["methods"]}
    with_curve = [m for m in measures if any("curve" in of_method.get(m["id"], {}) for of_method in means.values())]
    others = [m for m in measures if m not in with_curve]
    panels = max(1, len(measures))
    figure, axes = pyplot.subplots(1, panels, figsize=(3.6 * panels, 3.8), layout="constrained", squeeze=False)
    for axis, measure in zip(axes[0], [*with_curve, *others], strict=False):
        axis.set_title(f"{measure['title']}, {_BETTER[measure['better']]}", fontsize=10)
        axis.grid(color="#dddddd", linewidth=0.6)
        draw_panel = _draw_curves if measure in with_curve else _draw_bars
        draw_panel(axis, measure, means, titles)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)


def _draw_curves(axis: Any, measure: dict[str, Any], means: dict[str, Any], titles: dict[str, str]) -> None:
    lines = [
        (titles.get(name, name), of_method.get(measure["id"], {}), "curve", COLOURS[number % len(COLOURS)], "-")
        for number, (name, of_method) in enumerate(means.items())
    ]
    lines.append(("random maps", next(iter(means.values())).get(measure["id"], {}), "random_curve", RANDOM, "--"))
    for title, mean, field, colour, style in lines:
        curve = mean.get(field)
        if not curve or curve["mean"] is None:
            continue
        at, values, low, high = (
            np.array(v, np.float64) for v in (mean["at"], curve["mean"], curve["low"], curve["high"])
        )
        axis.plot(at, values, color=colour, label=title, linestyle=style)
        axis.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        if at[0] > 0 and at[-1] > 20 * at[0]:
            axis.set_xscale("log")
    axis.set_xlabel(measure["axis"])


def _draw_bars(axis: Any, measure: dict[str, Any], means: dict[str, Any], titles: dict[str, str]) -> None:
    for number, of_method in enumerate(means.values()):
        mean = of_method.get(measure["id"])
        if mean and mean["mean"] is not None:
            error = None if mean["high"] is None else mean["high"] - mean["mean"]
            colour = COLOURS[number % len(COLOURS)]
            axis.barh(number, mean["mean"], xerr=error, color=colour, error_kw={"linewidth": 1})
    axis.set_yticks(range(len(means)), [titles.get(name, name) for name in means], fontsize=8)
    axis.invert_yaxis()
