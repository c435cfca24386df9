"""How full the batches are that methods and measures give the model: on a GPU a small batch costs as much as a large one.

    python -m benchmarks.fill [--examples 2000] [--batch 64 256 1024 4096] [--work occlusion ...] [--json FILE]

The fill is the number of evaluations / (batches × batch size): one if every batch is full. Batches are counted where the score
evaluates the model, so it depends on no clock. Refined integrated gradients explain cnn28 of `benchmarks.nets`; the other counts do
not depend on the net, and are those of one dense layer on pictures of 28×28 in 16 blocks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from tb_deepexplain.attribution.score import Score

BATCHES = (64, 256, 1024, 4096)
REFINED = "integrated gradients, refined"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    REFINED: ("integrated_gradients", {}),
    "integrated gradients, 50 steps": ("integrated_gradients", {"steps": 50}),
    "occlusion, windows of 4×4": ("occlusion", {"window_shape": (4, 4, 1), "step": 4}),
    "Shapley values of rows": ("shapley_sampling", {"sampling_dims": (1,)}),
}
BLOCKS = {"blocks": (7, 7, 1)}
# Of maps by gradient × input.
MEASURES: dict[str, dict[str, Any]] = {
    "deletion": BLOCKS,
    "sensitivity_n": BLOCKS,
    "infidelity": BLOCKS,
    "max_sensitivity": {},
}
WORK = (*METHODS, *MEASURES)


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """The sizes of the batches that scores evaluate; of functions that are traced within."""
    sizes: list[int] = []
    evaluate = Score._evaluate  # noqa: SLF001

    def evaluate_and_count(score: Score, function: Any, points: Any, rows: Any) -> Any:
        tf.py_function(lambda size: sizes.append(int(size)), [tf.shape(points[0])[0]], [])
        return evaluate(score, function, points, rows)

    with mock.patch.object(Score, "_evaluate", evaluate_and_count):
        yield sizes


def prepare(name: str, model: Any, x: np.ndarray) -> Callable[[int], Any]:
    """A function of the batch size that does the work of this name."""
    method, parameters = METHODS.get(name, ("gradient_x_input", {}))
    explainer = dx.Explainer(method, model, **parameters)
    if name in METHODS:
        return lambda batch: explainer.run(x, target=0, batch_size=batch, return_result=True)
    evaluator = dx.Evaluator(explainer, {name: MEASURES[name]})
    result = explainer.run(x, target=0, return_result=True)
    return lambda batch: evaluator.run(x, result, batch_size=batch)


def _digits(count: int) -> tuple[Any, np.ndarray]:
    """cnn28 and pictures of digits."""
    from benchmarks.nets import load  # and the examples of all nets

    net = load("cnn28")
    return net.model, net.examples(count)


def main(arguments: list[str] | None = None) -> None:
    """Print the fill of all work at all batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--batch", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    x = np.random.default_rng(0).random((options.examples, 28, 28, 1), np.float32)
    inputs = tf.keras.Input((28, 28, 1))
    dense = tf.keras.Model(inputs, tf.keras.layers.Dense(10)(tf.keras.layers.Flatten()(inputs)))
    rows = []
    table = Table("work", *map(str, options.batch), title="Fill by batch size (batches)")
    for name in options.work:
        cells = []
        with counted() as sizes:
            run = prepare(name, *(_digits(options.examples) if name == REFINED else (dense, x)))
            for batch in options.batch:
                sizes.clear()
                run(batch)
                fill = sum(sizes) / (len(sizes) * batch)
                counts = {"evaluations": sum(sizes), "batches": len(sizes), "fill": fill}
                rows.append({"work": name, "batch": batch, **counts})
                cells.append(f"{fill:.2f} ({len(sizes)})")
                print(name, rows[-1], flush=True)
        table.add_row(name, *cells)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
