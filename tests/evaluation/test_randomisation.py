"""Sanity checks: maps of models with random weights or labels differ, unless the method does not look at the model."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.evaluation.randomisation import label_randomisation, parameter_randomisation
from tb_deepexplain.graph.model_graph import ModelGraph
from tests import models

RNG = np.random.default_rng(0)


def deep_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10, 10, 1))
    y = inputs
    for width in (8, 8, 8):
        y = layers.Conv2D(width, 3, activation="relu", padding="same")(y)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(y)))


def freeze(model: keras.Model, folder: Path) -> Path:
    """The model as a frozen graph, model.pb."""
    function = tf.function(model).get_concrete_function(tf.TensorSpec([None, 10, 10, 1], tf.float32))
    constant = convert_variables_to_constants_v2(function)
    tf.io.write_graph(constant.graph, str(folder), "model.pb", as_text=False)
    return folder / "model.pb"


@pytest.mark.parametrize("source", ["keras", "savedmodel", "frozen"])
def test_maps_change_while_layers_are_randomised(source: str, tmp_path: Path) -> None:
    model: Any = deep_model()
    if source == "savedmodel":
        model.export(tmp_path / "m", verbose=False)
        model = tmp_path / "m"
    if source == "frozen":
        model = freeze(model, tmp_path)
    xs = RNG.random((6, 10, 10, 1)).astype(np.float32)
    explainer = dx.Explainer("gradient_x_input", model, target=0)
    maps = explainer.run(xs)
    randomised = parameter_randomisation(explainer, xs)
    assert len(randomised.layers) == randomised.similarity.shape[1] == 5
    assert "dense" in randomised.layers[1] or source == "frozen"
    assert (randomised.similarity[:, 0] == 1).all()
    assert randomised.similarity[:, -1].mean() < 0.75 * randomised.similarity[:, 0].mean()
    assert (randomised.similarity[:, 1] < 0.9999).all()
    assert randomised.evaluations.tolist() == [5] * 6
    np.testing.assert_array_equal(explainer.run(xs), maps)  # the model itself did not change
    in_two_groups = parameter_randomisation(explainer, xs, most=2)
    assert in_two_groups.similarity.shape == (6, 3)
    np.testing.assert_allclose(in_two_groups.similarity[:, 2], randomised.similarity[:, 4], atol=1e-6)


def test_layers_stay_randomised(monkeypatch: pytest.MonkeyPatch) -> None:
    randomised, with_weights = [], ModelGraph.with_weights
    monkeypatch.setattr(
        ModelGraph, "with_weights", lambda self, values: randomised.append(list(values)) or with_weights(self, values)
    )
    xs = RNG.random((1, 10, 10, 1)).astype(np.float32)
    parameter_randomisation(dx.Explainer("saliency", deep_model(), target=0), xs)
    assert [len(names) for names in randomised] == [2, 4, 6, 8]  # kernels and biases
    assert all(set(before) < set(after) for before, after in itertools.pairwise(randomised))


def test_the_predicted_class_is_that_of_the_original_model(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, original_run = [], dx.Explainer.run

    def run(self: dx.Explainer, xs: Any, **options: Any) -> Any:
        targets.append(options["target"])
        return original_run(self, xs, **options)

    monkeypatch.setattr(dx.Explainer, "run", run)
    model, xs = deep_model(), RNG.random((9, 10, 10, 1)).astype(np.float32)
    parameter_randomisation(dx.Explainer("saliency", model), xs, target="predicted", most=1)
    assert targets[0] == "predicted"
    assert targets[1].target.tolist() == model.predict(xs, verbose=0).argmax(1).tolist()


def test_features_that_are_zero_in_both_maps_do_not_make_them_similar() -> None:
    """Three quarters of the picture are black: there gradient × input is zero for any weights."""
    xs = np.zeros((6, 10, 10, 1), np.float32)
    xs[:, :5, :5] = RNG.random((6, 5, 5, 1))
    explainer = dx.Explainer("gradient_x_input", deep_model(), target=0)
    assert parameter_randomisation(explainer, xs).similarity[:, -1].mean() < 0.75
    assert np.isnan(parameter_randomisation(explainer, xs * 0).similarity[:, 1:]).all()


def test_a_map_of_the_input_alone_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_of_input(score: Score) -> Explanation:
        """The input itself."""
        return Explanation([score.x[0] * 1.0], tf.ones([score.n], tf.int32))

    method = dataclasses.replace(TABLE[0], function=copy_of_input)
    monkeypatch.setattr("tb_deepexplain.attribution.explainer.find_method", lambda _: method)
    explainer = dx.Explainer("copy_of_input", deep_model(), target=0)
    randomised = parameter_randomisation(explainer, RNG.random((3, 10, 10, 1)).astype(np.float32))
    np.testing.assert_allclose(randomised.similarity, 1)


def test_a_model_of_random_labels_has_other_maps() -> None:
    xs = RNG.random((300, 6)).astype(np.float32)
    ys = (xs[:, 0] > xs[:, 1]).astype(int)
    trained = []
    for labels in (ys, RNG.permutation(ys)):
        keras.utils.set_random_seed(0)
        model = models.keras.Sequential([keras.Input((6,)), layers.Dense(16, "relu"), layers.Dense(2, "softmax")])
        model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        model.fit(xs, labels, epochs=20, verbose=0)
        trained.append(model)
    explainer = dx.Explainer("saliency", trained[0])
    np.testing.assert_allclose(label_randomisation(explainer, trained[0], xs[:50], target=1), 1)
    similarity = label_randomisation(explainer, trained[1], xs[:50], target=1)
    assert similarity.mean() < 0.7
    batches = iter([xs[:30], xs[30:50]])
    np.testing.assert_array_equal(label_randomisation(explainer, trained[1], batches, target=1), similarity)
    narrower = models.keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    with pytest.raises(dx.InputError, match=r"was checked for .* \[\?, 6\], but the model takes .* \[\?, 5\]"):
        label_randomisation(explainer, narrower, xs[:50], target=1)


def test_the_embedding_of_a_text_model_is_randomised() -> None:
    explainer = dx.Explainer("gradient_x_input", models.text(), target=1)
    randomised = parameter_randomisation(explainer, RNG.integers(1, 8, (4, 6)))
    assert randomised.similarity.shape == (4, 4)
    assert "embedding" in randomised.layers[-1]
    assert (randomised.similarity[:, -1] < 0.9).all()
