"""Localisation against masks, and sanity checks by randomisation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.errors import InputError
from tb_deepexplain.evaluation.localisation import localise
from tb_deepexplain.evaluation.randomisation import label_randomisation, parameter_randomisation
from tb_deepexplain.graph.model_graph import ModelGraph
from tests import models

RNG = np.random.default_rng(0)


def test_localisation() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[:2, :2, :2] = True
    maps = np.zeros((3, 4, 4, 2))
    maps[0, 0, 0], maps[0, 3, 3] = 1, [1, 0]  # 2 in the mask, 1 outside
    maps[1, 3, 3], maps[1, 0, 0], maps[1, 0, 1] = 2, 1, -5
    found = localise(maps, masks)
    assert found.pointing[:2].tolist() == [1, 0]
    assert found.mass[:2] == pytest.approx([2 / 3, 1 / 3])
    # The four largest: (0,0), (3,3), and two of the fourteen zeros, three of which lie in the mask.
    inside = 1 + 2 * 3 / 14
    assert found.iou[0] == pytest.approx(inside / (8 - inside))
    even = np.ones((1, 4, 4))
    assert np.isnan(localise(even, masks[:1])).all()  # a map that says nothing points nowhere
    even[0, 0, 0] = even[0, 3, 3] = 2
    assert localise(even, masks[:1]).pointing[0] == 0.5  # of two largest one lies in the mask
    even[0, 1, 1] = np.nan
    assert np.isnan(localise(even, masks[:1])).all()
    assert np.isnan([found.pointing[2], found.iou[2], found.mass[2]]).all()
    with pytest.raises(InputError, match="a mask for each map"):
        localise(maps, masks[:2])


def deep() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10, 10, 1))
    y = inputs
    for width in (8, 8, 8):
        y = layers.Conv2D(width, 3, activation="relu", padding="same")(y)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(y)))


def edges(score: Score) -> Explanation:
    """A map that knows nothing of the model."""
    import tensorflow as tf

    return Explanation([score.x[0] * 1.0], tf.ones([score.n], tf.int32))


@pytest.mark.parametrize("source", ["keras", "savedmodel", "frozen"])
def test_randomised_layers_change_a_map_that_knows_the_model(source: str, tmp_path: Path) -> None:
    model: Any = deep()
    if source != "keras":
        model.export(tmp_path / "m", verbose=False)
        model = tmp_path / "m"
    if source == "frozen":
        model = frozen(deep(), tmp_path)
    xs = RNG.random((6, 10, 10, 1)).astype(np.float32)
    explainer = dx.Explainer("gradient_x_input", model, target=0)
    before = explainer.run(xs)
    found = parameter_randomisation(explainer, xs)
    assert len(found.layers) == found.similarity.shape[1] == 5
    assert "dense" in found.layers[1] or source == "frozen"
    assert (found.similarity[:, 0] == 1).all()
    assert found.similarity[:, -1].mean() < 0.75 * found.similarity[:, 0].mean()
    assert (found.similarity[:, 1] < 0.9999).all()
    assert found.evaluations.tolist() == [5] * 6
    np.testing.assert_array_equal(explainer.run(xs), before)  # the model itself is as it was
    again = parameter_randomisation(explainer, xs, most=2)
    assert again.similarity.shape == (6, 3)
    np.testing.assert_allclose(again.similarity[:, 2], found.similarity[:, 4], atol=1e-6)


def test_layers_are_randomised_on_top_of_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], ModelGraph.with_weights
    monkeypatch.setattr(
        ModelGraph, "with_weights", lambda self, values: asked.append(list(values)) or real(self, values)
    )
    parameter_randomisation(dx.Explainer("saliency", deep(), target=0), RNG.random((1, 10, 10, 1)).astype(np.float32))
    assert [len(names) for names in asked] == [2, 4, 6, 8]  # kernels and biases
    assert all(set(before) < set(after) for before, after in itertools.pairwise(asked))


def test_the_class_that_is_explained_stays_that_of_the_true_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], dx.Explainer.run

    def run(self: dx.Explainer, xs: Any, **options: Any) -> Any:
        asked.append(options["target"])
        return real(self, xs, **options)

    monkeypatch.setattr(dx.Explainer, "run", run)
    model, xs = deep(), RNG.random((9, 10, 10, 1)).astype(np.float32)
    parameter_randomisation(dx.Explainer("saliency", model), xs, target="predicted", most=1)
    assert asked[0] == "predicted"
    assert asked[1].tolist() == model.predict(xs, verbose=0).argmax(1).tolist()


def frozen(model: keras.Model, folder: Path) -> Path:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(model).get_concrete_function(tf.TensorSpec([None, 10, 10, 1], tf.float32))
    constant = convert_variables_to_constants_v2(function)
    tf.io.write_graph(constant.graph, str(folder), "model.pb", as_text=False)
    return folder / "model.pb"


def test_what_both_leave_out_makes_no_maps_alike() -> None:
    """Three quarters of the picture are black: there gradient × input is zero, whatever the weights."""
    xs = np.zeros((6, 10, 10, 1), np.float32)
    xs[:, :5, :5] = RNG.random((6, 5, 5, 1))
    found = parameter_randomisation(dx.Explainer("gradient_x_input", deep(), target=0), xs)
    assert found.similarity[:, -1].mean() < 0.75
    nothing = parameter_randomisation(dx.Explainer("gradient_x_input", deep(), target=0), xs * 0)
    assert np.isnan(nothing.similarity[:, 1:]).all()


def test_a_map_that_is_no_explanation_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    blind = dataclasses.replace(TABLE[0], function=edges)
    monkeypatch.setattr("tb_deepexplain.attribution.explainer.find_method", lambda name: blind)
    explainer = dx.Explainer("edges", deep(), target=0)
    found = parameter_randomisation(explainer, RNG.random((3, 10, 10, 1)).astype(np.float32))
    np.testing.assert_allclose(found.similarity, 1)


def test_a_model_of_random_labels_has_other_maps() -> None:
    xs = RNG.random((300, 6)).astype(np.float32)
    ys = (xs[:, 0] > xs[:, 1]).astype(int)
    explainers = []
    for labels in (ys, RNG.permutation(ys)):
        keras.utils.set_random_seed(0)
        model = models.keras.Sequential([keras.Input((6,)), layers.Dense(16, "relu"), layers.Dense(2, "softmax")])
        model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        model.fit(xs, labels, epochs=20, verbose=0)
        explainers.append(model)
    explainer = dx.Explainer("saliency", explainers[0])
    same = label_randomisation(explainer, explainers[0], xs[:50], target=1)
    other = label_randomisation(explainer, explainers[1], xs[:50], target=1)
    np.testing.assert_allclose(same, 1)
    assert other.mean() < 0.7


def test_texts_are_randomised_with_their_embedding() -> None:
    explainer = dx.Explainer("gradient_x_input", models.text(), target=1)
    found = parameter_randomisation(explainer, RNG.integers(1, 8, (4, 6)))
    assert found.similarity.shape == (4, 4)
    assert "embedding" in found.layers[-1]
    assert (found.similarity[:, -1] < 0.9).all()
