"""load_model: every form of a model gives the same graph; anything else is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests import models
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(5, 8, 8, 3)).astype(np.float32)
IDS = np.array([[3, 4, 5, 0, 0], [2, 0, 0, 0, 0], [7, 6, 5, 4, 3]])
STRINGS = np.array(["a great film", "dull", "not the dull film unheardof"])
TWO_INPUTS = {"numbers": RNG.normal(size=(4, 4)).astype(np.float32), "ids": RNG.integers(0, 10, (4, 6))}


def _convert(model: keras.Model, form: str, folder: Path) -> Any:
    if form == "object":
        return model
    if form == "keras":
        model.save(folder / "model.keras")
        return folder / "model.keras"
    model.export(folder / "saved", verbose=False)
    return folder / "saved"


@pytest.mark.parametrize("form", ["object", "keras", "saved_model"])
@pytest.mark.parametrize(
    ("build", "xs"),
    [
        (models.image, PICTURES),
        (models.text, IDS),
        (lambda: models.text(strings=True), STRINGS),
        (models.two_inputs, TWO_INPUTS),
        (models.sequential, PICTURES.reshape(-1, 10)),
    ],
    ids=["image", "ids", "strings", "two inputs", "sequential"],
)
def test_every_form_of_a_model_predicts_and_explains_alike(form: str, build: Any, xs: Any, tmp_path: Path) -> None:
    model = build()
    expected = np.asarray(model(tf.constant(xs) if not isinstance(xs, dict) else xs, training=False))
    explainer = dx.Explainer("gradient_x_input", _convert(model, form, tmp_path))
    predictions = explainer.predict(xs, batch_size=2)
    outputs = predictions.outputs if predictions.probabilities is None else predictions.probabilities
    assert_maps_close(outputs, expected)
    if predictions.probabilities is not None:
        assert_maps_close(tf.nn.softmax(predictions.outputs), expected)
    attributions = explainer.run(xs, target=1)
    of_object = dx.explain("gradient_x_input", model, xs, target=1)
    tf.nest.map_structure(assert_maps_close, attributions, of_object)


def test_variables_are_captured_not_copied() -> None:
    model = models.image()
    explainer = dx.Explainer("saliency", model)
    before = explainer.run(PICTURES, target=0)
    head = model.get_layer("head").kernel
    head.assign(2 * head)
    assert_maps_close(explainer.run(PICTURES, target=0), 2 * before)


def test_results_are_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    question, answer = (keras.Input((4,), dtype="int32", name=n) for n in ("q", "d"))
    embed = keras.layers.Embedding(20, 3, embeddings_initializer="normal")
    parts = [keras.layers.Flatten()(embed(t)) for t in (question, answer)]
    model = keras.Model([question, answer], keras.layers.Dense(1)(keras.layers.Concatenate()(parts)))
    xs = [RNG.integers(0, 20, (2, 4)), RNG.integers(0, 20, (2, 4))]
    weights = model.layers[-1].kernel.numpy()[:, 0]
    attributions = dx.explain("gradient_x_input", model, xs)
    for i in (0, 1):
        embedded = embed.embeddings.numpy()[xs[i]]
        assert_maps_close(attributions[i], embedded * weights.reshape(2, 4, 3)[i])
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(dx.InputError, match="by name: give a dict"):
        dx.explain("gradient_x_input", tmp_path / "saved", xs)


@pytest.mark.parametrize("form", ["object", "saved_model"])
def test_activations_with_a_custom_gradient(form: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "silu"), keras.layers.Dense(2)])
    x = tf.constant(RNG.normal(size=(3, 4)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x)[:, 1]
    expected = abs(tape.gradient(score, x).numpy())
    attributions = dx.explain("saliency", _convert(model, form, tmp_path), x, target=1)
    assert_maps_close(attributions, expected)


def _refusals(folder: Path) -> list[tuple[Any, dict[str, Any], str]]:
    """(model, options of load_model, message)"""
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "saved_model.pb").write_bytes(b"not a model")
    (folder / "broken.keras").write_bytes(b"not a model")
    (folder / "model.xyz").write_bytes(b"")
    models.image().export(folder / "image", verbose=False)

    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    return [
        (folder / "missing", {}, "no model at"),
        (folder / "empty", {}, "holds no saved_model.pb"),
        (folder / "broken", {}, "TensorFlow cannot load"),
        (folder / "broken.keras", {}, "Keras cannot load"),
        (folder / "model.xyz", {}, "is not a SavedModel directory or a .keras, .h5 or .pb file"),
        (folder / "broken.keras", {"signature": "x"}, "signature=... chooses .*broken.keras is not a SavedModel"),
        (folder / "image", {"signature": "predict"}, "no signature 'predict'; it has .*'serving_default'"),
        (models.image(), {"signature": "x"}, "signature=... chooses .*this model is not a SavedModel"),
        (Subclassed(), {}, r"give \(model, tf.TensorSpec"),
        (lambda x: x, {}, "cannot explain a function"),
        (3, {}, "cannot explain a int: give a keras.Model, a path to a SavedModel directory, .*, a tf.Module, or"),
        (
            keras.Sequential([keras.Input((3,), batch_size=2), keras.layers.Dense(1)]),
            {},
            "takes exactly 2 examples at once; export the model with a batch of None",
        ),
    ]


def test_unusable_models_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for model, options, message in _refusals(tmp_path):
        with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
            dx.load_model(model, **options)
        assert "\n" not in str(caught.value)
