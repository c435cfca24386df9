"""Error of sampled Shapley values against evaluations spent, for every estimator.

    python -m benchmarks.shapley [--pictures 16] [--json FILE]

The players are 14 blocks of a digit (2 × 7), present or black; the exact values are computed from all 16,384 coalitions.
The error is the L2 distance from the exact values, as a share of their norm: the median over pictures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from benchmarks.nets import Net, load

BLOCKS = (2, 7)
PLAYERS = math.prod(BLOCKS)
SAMPLES = (4, 8, 16, 32, 64, 128)
ESTIMATORS = ("permutation", "antithetic", "kernel")


def game(net: Net) -> Any:
    """(presence of the blocks [B, 2, 7], picture) → logits."""

    def play(present: Any, picture: Any) -> Any:
        mask = tf.repeat(tf.repeat(present, 28 // BLOCKS[0], axis=1), 28 // BLOCKS[1], axis=2)
        return net.model(picture * mask[..., None], training=False)

    specs = [tf.TensorSpec([None, *BLOCKS], name="present"), tf.TensorSpec([None, 28, 28, 1], name="picture")]
    return tf.function(play, input_signature=specs)


def exact(play: Any, picture: np.ndarray, target: int) -> np.ndarray:
    """[14] by the definition: the weighted mean of the gain by a player, over all coalitions without it."""
    coalitions = np.array(list(itertools.product((0, 1), repeat=PLAYERS)), np.float32)
    value = np.concatenate(
        [
            play(tf.reshape(c, [-1, *BLOCKS]), np.repeat(picture[None], len(c), 0)).numpy()[:, target]
            for c in np.split(coalitions, 64)
        ]
    ).astype(np.float64)
    size = coalitions.sum(1).astype(int)
    weight = np.array([1 / (PLAYERS * math.comb(PLAYERS - 1, s)) for s in range(PLAYERS)])
    values = []
    for player in range(PLAYERS):
        without = np.flatnonzero(coalitions[:, player] == 0)
        gain = value[without + 2 ** (PLAYERS - 1 - player)] - value[without]
        values.append((weight[size[without]] * gain).sum())
    return np.array(values)


def measure(net: Net, pictures: int) -> list[dict[str, Any]]:
    """One row for each estimator and number of samples."""
    play, x = game(net), net.examples(pictures)
    target = net.model.predict(x, verbose=0).argmax(1)
    exact_values = np.stack([exact(play, picture, t) for picture, t in zip(x, target, strict=True)])
    present = np.ones((pictures, *BLOCKS), np.float32)
    rows = []
    for estimator, samples in itertools.product(ESTIMATORS, SAMPLES):
        explainer = dx.Explainer("shapley_sampling", play, inputs="present", samples=samples, estimator=estimator)
        result = explainer.run({"present": present, "picture": x}, target=target, return_result=True)
        maps = result.attributions["present"] if isinstance(result.attributions, dict) else result.attributions
        error = np.linalg.norm(np.asarray(maps).reshape(pictures, -1) - exact_values, axis=1) / np.linalg.norm(
            exact_values, axis=1
        )
        spent = float(result.evaluations.mean())
        rows.append(
            {"estimator": estimator, "samples": samples, "evaluations": spent, "error": float(np.median(error))}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    rows = measure(load("cnn28"), arguments.pictures)
    table = Table("samples", title=f"Median error of sampled Shapley values, {PLAYERS} players")
    for column in ("evaluations", *ESTIMATORS):
        table.add_column(column, justify="right")
    for samples in SAMPLES:
        by_estimator = {r["estimator"]: r for r in rows if r["samples"] == samples}
        errors = (f"{by_estimator[e]['error']:.2g}" for e in ESTIMATORS)
        table.add_row(str(samples), f"{by_estimator[ESTIMATORS[0]]['evaluations']:.0f}", *errors)
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
