"""Ranks that TensorFlow cannot infer are measured by running the model once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests.graph.loading.comparison import RNG, SPEC, X, assert_same_model


@pytest.mark.filterwarnings("ignore:the explained output is a softmax", "ignore:.*summed over")
def test_an_unknown_rank_is_measured() -> None:
    def plain(x: Any) -> Any:
        shape = tf.concat([tf.shape(x)[:1], tf.strings.to_number(["4"], tf.int32), [2]], 0)
        shape = tf.py_function(lambda s: s, [shape], tf.int32)
        return tf.nn.softmax(tf.reshape(tf.tile(x[:, :2], [1, 4]), shape))

    function = tf.function(plain, input_signature=[SPEC])
    assert function.get_concrete_function().outputs[0].shape.rank is None
    graph = dx.load_model(function)
    for output in (None, "output"):
        assert dx.Explainer("saliency", graph, output=output).predict(X).outputs.shape == (4, 4, 2)
        dx.explain("saliency", graph, X, output=output, target=1)


def test_a_rank_that_only_python_knows_is_measured(tmp_path: Path) -> None:
    """Keras gives the ids of a vocabulary their shape, which a graph does not hold."""
    users, items = keras.Input((), dtype="string", name="user"), keras.Input((), dtype="string", name="item")
    ids = [keras.layers.StringLookup(vocabulary=["a", "b", "c"])(names) for names in (users, items)]
    rows = [keras.layers.Embedding(4, 3)(numbers) for numbers in ids]
    model = keras.Model([users, items], keras.layers.Dot(-1)(rows))
    model.export(tmp_path, verbose=False)
    xs = {"user": np.array(["a", "b"], object), "item": np.array(["c", "a"], object)}
    blanks = {name: np.array(["", ""], object) for name in xs}
    score = {name: model(xs | {name: blanks[name]}).numpy()[:, 0] for name in xs}
    for source in (model, tmp_path):
        maps = dx.explain("occlusion", source, xs)
        for name in xs:
            np.testing.assert_allclose(maps[name], model(xs).numpy()[:, 0] - score[name], rtol=1e-4, atol=1e-7)


def test_the_measured_example_is_large_enough_for_a_window() -> None:
    def plain(x: Any) -> Any:
        rows = tf.nn.conv1d(x, tf.ones([8, 3, 2]), 1, "VALID")
        return tf.reshape(rows[:, 0], tf.py_function(lambda s: s, [tf.shape(rows[:, 0])], tf.int32))

    x = RNG.normal(size=(4, 9, 3)).astype(np.float32)
    assert_same_model((plain, tf.TensorSpec([None, None, 3])), plain, x)


def test_a_rank_that_cannot_be_measured_is_refused() -> None:
    def fails_on_zeros(x: Any) -> Any:
        if not x.numpy().any():
            raise ValueError("zeros")
        return tf.square(x)

    model = tf.function(lambda x: tf.py_function(fails_on_zeros, [x], tf.float32), input_signature=[SPEC])
    with pytest.raises(dx.UnsupportedModelError, match="is of unknown rank"):
        dx.explain("saliency", model, X)
