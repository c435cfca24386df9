"""The figure of benchmarks.accuracy: a column for each model, the gap above, the error of the map below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RULES = {
    "right": ("right sum (DeepExplain)", "#999999", "s"),
    "trapezoid": ("trapezoid", "#56b4e9", "^"),
    "gauss_legendre": ("Gauss–Legendre", "#e69f00", "o"),
    "adaptive": ("refined to a tolerance", "#d6006c", "D"),
}


def draw(curves: dict[str, list[dict[str, Any]]], default: float, file: Path) -> None:
    """Write the figure; the default tolerance is circled."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(curves), figsize=(3.3 * len(curves), 6), sharex="col", sharey="row", squeeze=False, layout="constrained"
    )
    for (name, rows), (above, below) in zip(curves.items(), axes.T, strict=True):
        for rule, (label, colour, marker) in RULES.items():
            of_rule = [r for r in rows if r["rule"] == rule]
            spent = [r["evaluations"] for r in of_rule]
            style = {"color": colour, "marker": marker, "markersize": 4}
            above.loglog(spent, [r["gap"] for r in of_rule], label=label, **style)
            above.loglog(spent, [r["worst_gap"] for r in of_rule], linestyle=":", **style)
            below.loglog(spent, [r["map_error"] for r in of_rule], **style)
            for axis, key in ((above, "gap"), (above, "worst_gap"), (below, "map_error")):
                chosen = [r for r in of_rule if rule == "adaptive" and r["size"] == default]
                axis.scatter(
                    [r["evaluations"] for r in chosen], [r[key] for r in chosen], 110, "none", edgecolors="black"
                )
        above.set_title(name)
        below.set_xlabel("evaluations for each example")
        for axis in (above, below):
            axis.grid(color="#dddddd", linewidth=0.6)
    axes[0, 0].set_ylabel("completeness gap\nmedian, and worst (dotted)")
    axes[1, 0].set_ylabel("error of the map (L2), median")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, title=f"circled: the default, tolerance {default:g}"
    )
    figure.savefig(file, dpi=110)


def draw_sensitivity(results: dict[str, dict[str, Any]], file: Path) -> None:
    """Sensitivity-n: a panel for each model; the correlation over the share of features removed."""
    from tb_deepexplain.attribution.methods import TABLE
    from tb_deepexplain.evaluation.figure import COLOURS, RANDOM, pyplot

    order = {method.id: (method.title, colour) for method, colour in zip(TABLE, COLOURS, strict=False)}
    columns = 4
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.1 * columns, 2.7 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (name, net) in zip(axes.flat, results.items(), strict=False):
        for method, curve in net["curves"].items():
            title, colour = order[method]
            axis.errorbar(
                net["at"], curve["mean"], curve["error"], color=colour, label=title, linewidth=1.5, elinewidth=0.6
            )
        axis.plot(net["at"], net["random"]["mean"], color=RANDOM, linestyle="--", label="random maps")
        axis.set_xscale("log")
        axis.set_title(f"{name}, accuracy {net['accuracy']:.2f}", fontsize=10)
        axis.grid(color="#dddddd", linewidth=0.6)
    for axis in list(axes.flat)[len(results) :]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel("correlation")
    for axis in axes[-1]:
        axis.set_xlabel("share of features removed")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, dpi=110)
