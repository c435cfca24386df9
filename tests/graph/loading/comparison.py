"""Comparing a loaded model with the code that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import tb_deepexplain as dx
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(3, 2)).astype(np.float32)
SPEC = tf.TensorSpec([None, 3], tf.float32, name="x")
IDS = np.array([[3, 4, 5, 0, 0], [2, 0, 0, 0, 0], [7, 6, 5, 4, 3]])


def assert_same_model(form: Any, model: Callable[[Any], Any], x: Any = X, output: str = "output") -> dx.ModelGraph:
    """The graph of `form`, after its output and the gradient of unit 1 were compared with those of `model`."""
    graph = dx.load_model(form)
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = model(inputs)
        score = expected[:, 1]
    predictions = dx.Explainer("saliency", graph, output=output).predict(x)
    assert_maps_close(predictions.outputs, expected)
    attributions = dx.explain("saliency", graph, x, target=1, output=output, check_batch=False)
    assert_maps_close(attributions, abs(tape.gradient(score, inputs).numpy()))
    return graph
